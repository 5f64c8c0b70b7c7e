# The way out of the first interface stays what DHCP made it; the cluster's address is on the second.
{ common }:
{
  name = "lkc-dual-nic";

  nodes.guest =
    { lib, ... }:
    {
      imports = [ common.guest ];
      networking.interfaces.eth1.ipv4.addresses = lib.mkForce [ ];
      services.lkc-guest.dhcpFallback = [ "eth*" ];
    };
  nodes.host = {
    imports = [
      (common.host [
        (common.cluster {
          name = "k3s-dev";
          index = 0;
          address = "192.168.1.50";
          machine = 1;
        })
      ])
    ];
    services.dnsmasq = {
      enable = true;
      settings = {
        interface = "eth1";
        dhcp-range = "192.168.1.50,192.168.1.50,1h";
        # A router and no name server.
        dhcp-option = [
          "3,192.168.1.2"
          "6"
        ];
      };
    };
  };

  testScript = ''
    ${common.adopt}host.start()
    host.wait_for_unit("dnsmasq.service")
    guest.start()
    guest.wait_until_succeeds("ip -4 -oneline address show dev eth1 | grep -F 192.168.1.50/24")
    adopt(guest, "k3s-dev")
    host.succeed("lkc-host up k3s-dev")

    guest.succeed("ip -4 -oneline address show dev k8snet | grep -F 192.100.0.10/24")
    guest.succeed("ip -4 -oneline address show dev eth1 | grep -F 192.168.1.50/24")
    assert "via 192.168.1.2 dev eth1" in guest.succeed("ip -4 route show default")
    guest.succeed("grep -F k8snet /etc/rancher/k3s/config.yaml.d/50-lkc.yaml")
    host.succeed("ping -c 1 -W 5 192.100.0.10")
  '';
}
