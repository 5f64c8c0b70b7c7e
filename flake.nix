# No inputs, so nothing to lock: the packages and the module are built with the user's nixpkgs.
{
  description = "lkc: local k3s clusters, one command";

  outputs = _: {
    nixosModules.default = ./nixos-module;

    overlays.default = final: _previous: {
      lkc-guest = final.callPackage ./nixos-module/package.nix { program = "lkc-guest"; };
      lkc-host = final.callPackage ./nixos-module/package.nix { program = "lkc-host"; };
    };
  };
}
