# A change that would cut the guest off is taken back by the guest itself, unless its host comes back
# and confirms it.
{ common }:
let
  # The interface that the host comes by gets an address that the host cannot reach.
  cluster =
    address:
    common.cluster {
      name = "k3s-dev";
      index = 0;
      address = "192.168.1.1";
      machine = 1;
      more = ''address = "${address}"'';
    };
  cutOff =
    builtins.replaceStrings
      [ (common.mac 2 1) "k8snet" ]
      [ (common.mac 1 1) "cutoff" ]
      (cluster "10.99.0.10/24");
in
{
  name = "lkc-rollback";

  nodes.guest = common.guest;
  nodes.host = {
    imports = [ (common.host [ (cluster "192.100.0.10/24") ]) ];
    environment.etc."lkc-cut-off.toml".text = cutOff;
  };

  testScript = ''
    ${common.adopt}start_all()
    adopt(guest, "k3s-dev")
    host.succeed("lkc-host up k3s-dev")

    with subtest("the change fails as what was rolled back"):
        status, said = host.execute("lkc-host --config /etc/lkc-cut-off.toml --output json up k3s-dev")
        assert status == 8, f"{status}: {said}"

    with subtest("the guest has its address again within the deadline and 5 s"):
        host.wait_until_succeeds("ping -c 1 -W 1 192.168.1.1", timeout=35)
        guest.succeed("ip -4 -oneline address show dev eth1 | grep -F 192.168.1.1/24")
        guest.fail("ip -4 -oneline address show | grep -F 10.99.0.10")

    host.succeed("lkc-host up k3s-dev")
    host.succeed("lkc-host kubectl get nodes")
  '';
}
