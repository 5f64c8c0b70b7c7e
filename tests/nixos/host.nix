# Checks of `programs.lkc`: a list of what does not hold, empty when all is well, and each lkc.toml
# that it wrote, for lkc-host to read.
#
#   nix-instantiate --eval --strict --json tests/nixos/host.nix
let
  standIn = system: import ./stand-in.nix { inherit system; };
  inherit (standIn "x86_64-linux") lib;

  evaluate =
    module: system: lkc:
    (standIn system).evaluate [ module ] {
      programs = { inherit lkc; };
      home.profileDirectory = "/Users/me/.nix-profile";
    };
  homeManager = evaluate ../../nixos-module/host/home-manager.nix;
  nixDarwin = evaluate ../../nixos-module/host/nix-darwin.nix "aarch64-darwin";
  enabled = lkc: { enable = true; } // lkc;

  configurations = {
    nothing = { };
    two-clusters.clusters = {
      k3s-dev.ip = "192.100.0.10";
      k3s-capi.ip = "192.100.0.11";
    };
    as-people-had-it = {
      portForwards = {
        k3s-dev = {
          ip = "192.100.0.10";
          apiPort = 6443;
          httpPort = 8080;
          httpsPort = 8443;
          sshPort = 2210;
        };
        k3s-capi = {
          ip = "192.100.0.11";
          apiPort = 6444;
          httpPort = 8081;
          httpsPort = 8444;
          sshPort = 2211;
        };
      };
      k3sProfiles.k3s-dev = {
        enable = true;
        ip = "192.100.0.10";
        gateway = "192.100.0.1";
        cpu = 4;
        memory = "8GiB";
      };
      clusters.k3s-dev.settings = {
        carriers = [ "exec:incus exec k3s-dev -- lkc-guest stdio" ];
        via = [ "ssh:lima-colima" ];
      };
      clusters.k3s-dev.autoStart = true;
    };
    everything = {
      settings.default = "k3s-vm";
      clusters = {
        k3s-vm = {
          index = 7;
          ip = "192.168.100.17/24";
          gateway = "192.168.100.1";
          apiPort = 7443;
          httpPort = 7080;
          httpsPort = 7444;
          sshPort = 7022;
          image = "/images/nixos.qcow2";
          cpu = 4;
          memory = "8GiB";
          autoStart = true;
          settings = {
            vm.disk = "40GiB";
            cni = "none";
            ports.socks = true;
            k3s = {
              disable = [ "traefik" ];
              settings.kubelet-arg = [ "max-pods=50" ];
            };
            forward = [
              {
                name = "postgres";
                host = 5432;
                guest = "127.0.0.1:5432";
              }
              {
                host = "unix:~/pg.sock";
                guest = 5433;
              }
            ];
            reverse = [
              {
                name = "registry";
                guest = 5000;
                host = "127.0.0.1:5000";
                bind = "node";
              }
            ];
          };
        };
        k3s-ipv6.ip = "fd00::10";
        off = {
          enable = false;
          ip = "192.168.100.17";
        };
      };
    };
  };

  on = system: name: homeManager system (enabled configurations.${name});
  written = lib.mapAttrs (name: _: (on "x86_64-linux" name).xdg.configFile."lkc/lkc.toml".source.value) configurations;

  linux = on "aarch64-linux" "as-people-had-it";
  mac = on "aarch64-darwin" "as-people-had-it";
  darwin = nixDarwin (enabled configurations.as-people-had-it);
  program = system: "${(standIn system).pkgs.callPackage ../../nixos-module/package.nix { program = "lkc-host"; }}/bin/lkc-host";
  units = linux.systemd.user.services;
  jobs = mac.launchd.agents;

  checks = {
    "nothing is made unless it is enabled" =
      homeManager "x86_64-linux" { } == { failures = [ ]; } && nixDarwin { } == { failures = [ ]; };
    "the index follows from the address" =
      written.as-people-had-it.cluster.k3s-capi.index == 1 && written.everything.cluster.k3s-vm.index == 7;
    "an address that says no index says none" = !(written.everything.cluster.k3s-ipv6 ? index);
    "only what was said is written" = written.two-clusters.cluster.k3s-dev == {
      index = 0;
      address = "192.100.0.10/24";
    };
    "an address has a prefix" =
      written.everything.cluster.k3s-vm.address == "192.168.100.17/24"
      && written.everything.cluster.k3s-ipv6.address == "fd00::10/64";
    "a cluster that is off is not written" = !(written.everything.cluster ? off);
    "both old names mean the same cluster" =
      written.as-people-had-it.cluster.k3s-dev.gateway == "192.100.0.1"
      && written.as-people-had-it.cluster.k3s-dev.ports.api == 6443;
    "processors that nobody can give are warned of" =
      builtins.length linux.warnings == 1 && (on "x86_64-linux" "everything").warnings == [ ];
    "settings are joined with the options" = written.everything.cluster.k3s-vm.vm == {
      image = "/images/nixos.qcow2";
      cpus = 4;
      memory = "8GiB";
      disk = "40GiB";
    };

    "Linux has a unit for the daemon and one for the cluster" =
      builtins.attrNames units == [ "lkc" "lkc-k3s-dev" ]
      && units.lkc.Service.ExecStart == "${program "aarch64-linux"} daemon run"
      && units.lkc-k3s-dev.Service.ExecStart == "${program "aarch64-linux"} up k3s-dev"
      && !(linux ? launchd);
    "machines outlive the daemon" =
      units.lkc.Service.KillMode == "process" && jobs.lkc.config.AbandonProcessGroup;
    "a daemon that finds another is no failure" = units.lkc.Service.SuccessExitStatus == 7;
    "a Mac has the same as jobs" =
      builtins.attrNames jobs == [ "lkc" "lkc-k3s-dev" ]
      && jobs.lkc.config.ProgramArguments == [ (program "aarch64-darwin") "daemon" "run" ]
      && jobs.lkc-k3s-dev.config.ProgramArguments == [ (program "aarch64-darwin") "up" "k3s-dev" ]
      && !(mac ? systemd);
    "nix-darwin has the same jobs and the same file" =
      builtins.attrNames darwin.launchd.user.agents == builtins.attrNames jobs
      && darwin.environment.etc."xdg/lkc/lkc.toml".source.value == written.as-people-had-it;
    "the program is installed" =
      map (package: "${package}/bin/lkc-host") linux.home.packages == [ (program "aarch64-linux") ]
      && map (package: "${package}/bin/lkc-host") darwin.environment.systemPackages == [ (program "aarch64-darwin") ];
    "programs of the machine are found" =
      lib.hasInfix "/run/current-system/sw/bin" (builtins.head units.lkc.Service.Environment)
      && lib.hasInfix "/opt/homebrew/bin" jobs.lkc.config.EnvironmentVariables.PATH;
    "packages of one's own come first" =
      let
        made = homeManager "x86_64-linux" (enabled { extraPackages = [ "/qemu" ]; });
      in
      lib.hasPrefix "PATH=/qemu/bin:%h/" (builtins.head made.systemd.user.services.lkc.Service.Environment);
  };
in
{
  checked = builtins.length (builtins.attrNames checks);
  broken = (standIn "x86_64-linux").broken checks;
  inherit written;
}
