# The image in the two forms that machines take it.
{ nixpkgs }:
system:
let
  inherit (nixpkgs) lib;
  pkgs = nixpkgs.legacyPackages.${system};
  modules = nixpkgs + "/nixos/modules/virtualisation";
  made = extra: (lib.nixosSystem { modules = [ ./image.nix { nixpkgs.hostPlatform = system; } ] ++ extra; }).config;

  disk = made [
    (modules + "/disk-image.nix")
    {
      image = {
        format = "qcow2";
        # QEMU's own firmware on x86_64 boots no EFI disk; on aarch64 there is nothing else.
        efiSupport = pkgs.stdenv.hostPlatform.isAarch64;
      };
    }
  ];
  incus = made [ (modules + "/incus-virtual-machine.nix") ];
in
{
  # For `lkc-host up --image`, and for anything else that boots a disk.
  qcow2 = disk.system.build.image;

  # `incus image import metadata.tar.xz disk.qcow2 --alias lkc-k3s`, for machines without secure boot.
  incus = pkgs.linkFarm "k3s-image-incus" [
    {
      name = "metadata.tar.xz";
      path = "${incus.system.build.metadata}/${incus.image.filePath}";
    }
    {
      name = "disk.qcow2";
      path = "${incus.system.build.qemuImage}/nixos.qcow2";
    }
  ];
}
