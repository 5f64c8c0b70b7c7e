# Two machines of one and the same system become two clusters.
{ common }:
{
  name = "lkc-two-clusters";

  nodes = {
    capi = common.guest;
    dev = common.guest;
    host = common.host [
      (common.cluster {
        name = "k3s-dev";
        index = 0;
        address = "192.168.1.2";
        machine = 2;
      })
      (common.cluster {
        name = "k3s-capi";
        index = 1;
        address = "192.168.1.1";
        machine = 1;
      })
    ];
  };

  testScript = ''
    ${common.adopt}start_all()
    adopt(dev, "k3s-dev")
    adopt(capi, "k3s-capi")
    host.succeed("lkc-host up --all")

    dev.succeed("ip -4 -oneline address show dev k8snet | grep -F 192.100.0.10/24")
    capi.succeed("ip -4 -oneline address show dev k8snet | grep -F 192.100.0.11/24")

    with subtest("each API is its own"):
        assert "k3s-dev" in host.succeed("lkc-host kubectl --cluster k3s-dev get nodes -o name")
        assert "k3s-capi" in host.succeed("lkc-host kubectl --cluster k3s-capi get nodes -o name")
        for port in (6443, 6444):
            host.succeed(f"curl --silent --insecure https://127.0.0.1:{port}/ping")
  '';
}
