# The two sides of every test: guests whose first interface is there for the host's connection, and
# whose second one is the cluster's, and a host that knows them by lkc.toml.
{ lib, pkgs }:
let
  hexadecimal = number: lib.toLower (lib.fixedWidthString 2 "0" (lib.toHexString number));
in
rec {
  # As the test driver numbers interfaces, by network, and machines, by name.
  mac = network: machine: "52:54:00:12:${hexadecimal network}:${hexadecimal machine}";

  # Port of the guests for their hosts.
  port = 7000;

  guest =
    { lib, ... }:
    {
      imports = [ ../default.nix ];

      virtualisation = {
        memorySize = 2048;
        diskSize = 4096;
        vlans = [
          1
          2
        ];
      };
      services.lkc-guest = {
        enable = true;
        listen = [
          "unix:/run/lkc/agent.sock"
          "tcp:0.0.0.0:${toString port}"
        ];
      };
      # Nothing can be pulled there.
      services.k3s = {
        enable = true;
        extraFlags = map (component: "--disable=${component}") [
          "coredns"
          "local-storage"
          "metrics-server"
          "servicelb"
          "traefik"
        ];
      };
      networking = {
        useNetworkd = true;
        useDHCP = false;
        firewall.enable = false;
        # The second interface is the agent's.
        interfaces.eth2.ipv4.addresses = lib.mkForce [ ];
        interfaces.eth2.ipv6.addresses = lib.mkForce [ ];
      };
      systemd.network.wait-online.enable = false;
    };

  # A cluster of lkc.toml: `address` is the guest's on the first network, `machine` its number.
  cluster =
    { name
    , index
    , address
    , machine
    , more ? ""
    ,
    }:
    ''
      [cluster.${name}]
      index = ${toString index}
      carriers = ["tcp:${address}:${toString port}"]
      mac = "${mac 2 machine}"
      interface = "k8snet"
      timeout = "10m"
      ${more}
    '';

  host = clusters: {
    virtualisation.vlans = [
      1
      2
    ];
    networking.firewall.enable = false;
    # Beside the guests, so that a node can be reached by its address as well.
    networking.interfaces.eth2.ipv4.addresses = lib.mkForce [
      {
        address = "192.100.0.1";
        prefixLength = 24;
      }
    ];
    environment.systemPackages = [
      pkgs.kubectl
      (pkgs.callPackage ../package.nix { program = "lkc-host"; })
    ];
    environment.etc."xdg/lkc/lkc.toml".text = lib.concatStrings clusters;
  };

  # Python: the two learn each other's keys.
  adopt = ''
    def adopt(guest, cluster):
        guest.wait_for_unit("lkc-guest.service")
        token = guest.succeed("lkc-guest token").strip()
        host.succeed(f"echo '{token}' | lkc-host adopt {cluster}")


  '';
}
