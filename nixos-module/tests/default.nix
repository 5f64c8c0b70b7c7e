# Tests in machines of their own: `nix build .#checks.x86_64-linux.reboot`.
{ lib, pkgs }:
let
  common = import ./common.nix { inherit lib pkgs; };
  test = file: pkgs.testers.runNixOSTest (import file { inherit common; });
in
{
  single-node = test ./single-node.nix;
  two-clusters = test ./two-clusters.nix;
  dual-nic = test ./dual-nic.nix;
  reboot = test ./reboot.nix;
  rollback = test ./rollback.nix;
}
