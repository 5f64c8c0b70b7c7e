# Checks of the flake: a list of what does not hold, empty when all is well; the scripts of its tests
# in machines and the lkc.toml of each, for the programs to read.
#
#   nix-instantiate --eval --strict --json tests/nixos/flake.nix
let
  standIn = import ./stand-in.nix { };
  inherit (standIn)
    evaluate
    lib
    nixos
    nixpkgs
    pkgs
    ;

  self = (import ../../flake.nix).outputs { inherit self nixpkgs; } // {
    outPath = "/lkc";
  };
  systems = lib.platforms.unix;
  machines = lib.filter (system: self.packages.${system} ? k3s-image) systems;
  image = self.packages.aarch64-linux;

  tests = import ../../nixos-module/tests { inherit lib pkgs; };
  node = test: name: evaluate [ nixos tests.${test}.nodes.${name} ] { };
  hosts = lib.mapAttrs (test: _: (node test "host").environment.etc) tests;

  baked = evaluate [ nixos ../../nixos-module/image.nix ] { };
  command = machine: machine.systemd.services.lkc-guest.serviceConfig.ExecStart;

  checks = {
    "each system has the host's program" =
      builtins.attrNames self.packages == builtins.attrNames (lib.genAttrs systems (_: null))
      && builtins.all (system: lib.hasSuffix system "${self.packages.${system}.default}") systems;
    "both programs are packaged from the workspace" =
      let
        host = self.packages.x86_64-linux.lkc-host;
      in
      host.meta.mainProgram == "lkc-host"
      && host.cargoBuildFlags == [
        "--package"
        "host-agent"
      ]
      && builtins.match "[0-9]+[.][0-9]+[.][0-9]+" host.version != null
      && builtins.length host.src.fileset == 6;
    "the overlay has both" =
      let
        packages = self.overlays.default pkgs { };
      in
      packages.lkc-guest.pname == "lkc-guest" && packages.lkc-host.pname == "lkc-host";
    "the modules are there" = builtins.all builtins.pathExists [
      self.nixosModules.default
      self.nixosModules.k3s-image
      self.homeModules.default
      self.darwinModules.default
    ];
    "Linux has the tests in machines, a Mac has not" =
      self.checks.x86_64-linux ? rollback && !(self.checks.aarch64-darwin ? rollback);

    "the image is complete" = baked.failures == [ ];
    "the agent of the image listens where lkc-host looks" =
      lib.hasInfix ''"vsock:5000"'' (command baked)
      && lib.hasInfix ''"serial:/dev/virtio-ports/lkc.agent.0"'' (command baked);
    "k3s of the image waits for the agent" = baked.systemd.services.k3s.unitConfig ? ConditionPathExists;
    "the image has a network without its host" = baked.systemd.network.networks ? "90-lkc-dhcp";
    "no key and no name is in the image" =
      !(baked.systemd.services.lkc-guest.serviceConfig ? LoadCredential) && baked.networking.hostName == "";
    "incus gets a disk and what is said of it" =
      map (entry: entry.name) image.k3s-image-incus.entries == [
        "metadata.tar.xz"
        "disk.qcow2"
      ];

    "machines of the tests are sound" = builtins.all
      (
        test:
        builtins.all (name: (node test name).failures == [ ]) (builtins.attrNames tests.${test}.nodes)
      )
      (builtins.attrNames tests);
    "two machines are of one system" =
      command (node "two-clusters" "dev") == command (node "two-clusters" "capi");
  };
in
{
  checked = builtins.length (builtins.attrNames checks);
  broken = standIn.broken checks;
  inherit machines;
  scripts = lib.mapAttrs (_: test: test.testScript) tests;
  files = lib.mapAttrs (_: files: files."xdg/lkc/lkc.toml".text) hosts // {
    "rollback, cut off" = hosts.rollback."lkc-cut-off.toml".text;
  };
}
