# One machine, from nothing to a node that is ready.
{ common }:
{
  name = "lkc-single-node";

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

    with subtest("k3s waits for its host"):
        assert guest.execute("systemctl is-active k3s.service")[0] != 0

    host.succeed("lkc-host up k3s-dev")
    host.succeed("lkc-host wait k3s-dev --for node")

    with subtest("the host gave it its name and address"):
        guest.succeed("ip -4 -oneline address show dev k8snet | grep -F 192.100.0.10/24")
        guest.succeed("grep -F 192.100.0.10 /etc/rancher/k3s/config.yaml.d/50-lkc.yaml")
        assert "k3s-dev" in host.succeed("lkc-host kubectl get nodes -o name")

    with subtest("the API is on the host's loopback and nowhere else"):
        host.succeed("curl --silent --insecure https://127.0.0.1:6443/ping")
        host.fail("curl --silent --insecure --max-time 5 https://192.168.1.2:6443/ping")

    host.succeed("lkc-host delete k3s-dev --yes")
    guest.succeed("systemctl is-active k3s.service")
  '';
}
