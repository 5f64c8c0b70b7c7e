{
  description = "lkc: local k3s clusters, one command";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      systems = linux ++ [
        "x86_64-darwin"
        "aarch64-darwin"
      ];
      each = names: make: lib.genAttrs names (system: make nixpkgs.legacyPackages.${system});
      images = import ./nixos-module/images.nix { inherit nixpkgs; };
      program = pkgs: name: pkgs.callPackage ./nixos-module/package.nix { program = name; };
    in
    {
      packages = each systems (
        pkgs:
        let
          inherit (pkgs.stdenv.hostPlatform) system;
          image = images system;
        in
        rec {
          default = lkc-host;
          lkc-host = program pkgs "lkc-host";
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux {
          lkc-guest = program pkgs "lkc-guest";
          k3s-image = image.qcow2;
          k3s-image-incus = image.incus;
        }
      );

      overlays.default = final: _previous: {
        lkc-guest = program final "lkc-guest";
        lkc-host = program final "lkc-host";
      };

      nixosModules = {
        default = ./nixos-module;
        k3s-image = ./nixos-module/image.nix;
      };
      homeModules.default = ./nixos-module/host/home-manager.nix;
      darwinModules.default = ./nixos-module/host/nix-darwin.nix;

      formatter = each systems (pkgs: pkgs.nixpkgs-fmt);

      # `cargo test` has the tests that need no machine of NixOS.
      checks = each systems (
        pkgs:
        {
          inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) lkc-host;
          nix-files =
            pkgs.runCommand "nix-files"
              {
                nativeBuildInputs = [
                  pkgs.deadnix
                  pkgs.nixpkgs-fmt
                ];
              }
              ''
                cd ${self}
                nixpkgs-fmt --check flake.nix nixos-module tests/nixos
                deadnix --fail flake.nix nixos-module tests/nixos
                touch $out
              '';
        }
        // lib.optionalAttrs pkgs.stdenv.hostPlatform.isLinux (
          { inherit (self.packages.${pkgs.stdenv.hostPlatform.system}) lkc-guest; }
          // import ./nixos-module/tests { inherit lib pkgs; }
        )
      );
    };
}
