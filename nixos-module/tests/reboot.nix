# A machine that starts again is the same node again, and the forwards are where they were.
{ common }:
{
  name = "lkc-reboot";

  nodes.guest = common.guest;
  nodes.host = common.host [
    (common.cluster {
      name = "k3s-dev";
      index = 0;
      address = "192.168.1.1";
      machine = 1;
    })
  ];

  testScript = ''
    ${common.adopt}start_all()
    adopt(guest, "k3s-dev")
    host.succeed("lkc-host up k3s-dev")
    host.succeed("lkc-host kubectl create configmap before-the-reboot")

    for end in (guest.shutdown, guest.crash):
        end()
        host.wait_until_fails("lkc-host wait k3s-dev --for agent --timeout 1s")
        guest.start()
        host.succeed("lkc-host wait k3s-dev --for node --timeout 10m")
        guest.succeed("ip -4 -oneline address show dev k8snet | grep -F 192.100.0.10/24")
        host.succeed("lkc-host kubectl get configmap before-the-reboot")
        nodes = host.succeed("lkc-host kubectl get nodes -o name").split()
        assert len(nodes) == 1, nodes
  '';
}
