# A NixOS with k3s and the guest agent, the same for every cluster: which one a machine belongs to
# comes from its host.
{ lib
, config
, modulesPath
, ...
}:
{
  imports = [
    ./default.nix
    (modulesPath + "/profiles/qemu-guest.nix")
  ];

  services.lkc-guest = {
    enable = true;
    # The socket is for `ssh:` and `exec:` carriers, the others are how a virtual machine is reached.
    listen = [
      "unix:/run/lkc/agent.sock"
      "vsock:5000"
      "serial:/dev/virtio-ports/lkc.agent.0"
    ];
    dhcpFallback = [
      "en*"
      "eth*"
    ];
  };
  services.k3s.enable = true;

  networking = {
    # The host names it.
    hostName = lib.mkDefault "";
    useNetworkd = true;
    useDHCP = false;
    firewall = {
      # The API and the kubelets of other nodes, and what flannel carries between nodes.
      allowedTCPPorts = [
        6443
        10250
      ];
      allowedUDPPorts = [ 8472 ];
      # Pods reach their own node: reverse forwards, node ports.
      trustedInterfaces = [
        "cni+"
        "flannel+"
        "cilium+"
        "lxc+"
      ];
    };
  };
  # k3s starts once the agent has set and read back its network: nothing else has to wait for one.
  systemd.network.wait-online.enable = false;

  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      PermitRootLogin = "prohibit-password";
    };
  };

  # AF_VSOCK before the agent asks for it, which may not load modules.
  boot.kernelModules = [
    "vmw_vsock_virtio_transport"
    "virtio_console"
  ];
  documentation.enable = lib.mkDefault false;
  system.stateVersion = lib.mkDefault config.system.nixos.release;
}
