# Checks of `services.lkc-guest` on both systems: a list of what does not hold, empty when all is
# well.
#
#   nix-instantiate --eval --strict --json tests/nixos/guest.nix
let
  systems = [
    "x86_64-linux"
    "aarch64-linux"
  ];

  checks =
    system:
    let
      standIn = import ./stand-in.nix { inherit system; };
      inherit (standIn) lib pkgs;
      evaluate =
        { guest ? { }, k3s ? { } }:
        standIn.evaluate [ standIn.nixos ../../nixos-module ] {
          services = {
            lkc-guest = guest;
            inherit k3s;
          };
        };

      off = evaluate { };
      plain = evaluate { guest.enable = true; };
      unit = plain.systemd.services.lkc-guest;
      service = unit.serviceConfig;
      steward = plain.systemd.services.lkc-steward.serviceConfig;
      program = "${pkgs.callPackage ../../nixos-module/package.nix { }}/bin/lkc-guest";

      files = evaluate {
        guest = {
          enable = true;
          listen = [ "unix:/run/50%/agent.sock" ];
          identityFile = "/var/lib/secrets/identity";
          authorizedHosts = [
            "one"
            "two"
          ];
          extraArgs = [ "--verbose" ];
        };
      };
      filesService = files.systemd.services.lkc-guest.serviceConfig;

      withUnit =
        k3s:
        evaluate {
          guest.enable = true;
          k3s = {
            enable = true;
          }
          // k3s;
        };
      eager = evaluate {
        guest = {
          enable = true;
          k3s.waitForConfiguration = false;
        };
        k3s.enable = true;
      };
      managing = {
        enable = true;
        k3s.manage = true;
      };
      managedSystem = (evaluate { guest = managing; }).systemd;
      managed = managedSystem.services.lkc-guest.serviceConfig;
      dropIn = "/etc/rancher/k3s/config.yaml.d/50-lkc.yaml";
      networkDirectory = "d /run/systemd/network 0755 root root -";
      confinement = builtins.match "(Protect|Restrict|SystemCall|Private|Device|Memory|Capability).*";
      one = failures: part: builtins.length failures == 1 && lib.hasInfix part (builtins.head failures);
    in
    {
      "nothing is made unless it is enabled" = off == { failures = [ ]; };
      "the agent is named with its arguments" =
        service.ExecStart
        == ''"${program}" "run" "--listen" "unix:/run/lkc/agent.sock"'';
      "the package is the system's" = lib.hasInfix system program;
      "the unit says when it is ready" = service.Type == "notify" && service.NotifyAccess == "main";
      "the unit is watched and always restarted" =
        service.WatchdogSec == "30" && service.Restart == "always" && unit.unitConfig.StartLimitIntervalSec == "0";
      "k3s starts after the agent is ready" = unit.before == [ "k3s.service" ];
      "a confirmed network is there before systemd-networkd is" =
        let
          restore = plain.systemd.services.lkc-guest-network;
        in
        builtins.elem "systemd-networkd.service" restore.before
        && lib.hasInfix "lkc-guest-network.service" unit.unitConfig.After
        && lib.hasPrefix ''"${program}" "network" "restore"'' restore.serviceConfig.ExecStart;
      "it starts at boot" = unit.wantedBy == [ "multi-user.target" ];
      "keys come from the machine's credentials" =
        service.ImportCredential == "lkc.*" && !(service ? LoadCredential);
      "the agent alone is confined" =
        service.ProtectSystem == "strict"
        && service.NoNewPrivileges == "yes"
        && service.CapabilityBoundingSet == "CAP_NET_BIND_SERVICE"
        && service.User == "lkc-guest"
        && plain.users.users.lkc-guest.group == "lkc-guest"
        && plain.users.groups ? lkc-guest;
      "what needs root is the steward's" =
        service.Environment == "LKC_STEWARD=/run/lkc-steward"
        && plain.systemd.sockets.lkc-steward.socketConfig.ListenStream == "/run/lkc-steward/steward.sock"
        && plain.systemd.sockets.lkc-steward.socketConfig.SocketUser == "lkc-guest"
        && steward.ExecStart == ''"${program}" "steward"''
        && lib.hasInfix "CAP_NET_ADMIN" steward.CapabilityBoundingSet
        && steward.RestrictAddressFamilies == "AF_UNIX AF_NETLINK";
      "a host sets the clock only where it may" =
        let
          allowed = (evaluate { guest = { enable = true; setClock = true; }; }).systemd.services;
          set = allowed.lkc-steward.serviceConfig;
          managedSet = (evaluate { guest = managing // { setClock = true; }; }).systemd.services;
        in
        !(steward ? Environment)
        && steward.ProtectClock == "yes"
        && set.Environment == "LKC_SET_CLOCK=yes"
        && set.ProtectClock == "no"
        && set.CapabilityBoundingSet == "${steward.CapabilityBoundingSet} CAP_SYS_TIME"
        && set.ExecStart == steward.ExecStart
        && allowed.lkc-guest == unit
        && managedSet.lkc-guest.serviceConfig.Environment == "LKC_SET_CLOCK=yes";
      "a program of a host's is root's" =
        plain.systemd.services."lkc-exec@".serviceConfig.ExecStart == ''"${program}" "execute"''
        && plain.systemd.sockets.lkc-exec.socketConfig.Accept == "yes";
      "the steward can write k3s' configuration" = lib.hasInfix "rancher/k3s/config.yaml.d" steward.ConfigurationDirectory;
      "the steward can write networkd's files of this boot" =
        lib.hasInfix "/run/systemd/network" steward.ReadWritePaths
        && plain.systemd.tmpfiles.rules == [ networkDirectory ];
      "no key of the image, no interface, no k3s unit unless asked" =
        !(plain.systemd ? network) && !(plain ? networking) && !(plain.systemd.services ? k3s);

      "it reads the credentials that the unit names" =
        let
          agent = builtins.readFile ../../guest-agent/src/config.rs;
        in
        lib.hasInfix ''"lkc.identity"'' agent && lib.hasInfix ''"lkc.authorized_hosts"'' agent;
      "it writes the file that k3s waits for" = lib.hasInfix ''"50-lkc.yaml"'' (builtins.readFile ../../guest-agent/src/k3s.rs);

      "files on the machine become credentials" =
        filesService.LoadCredential == [
          "lkc.identity:/var/lib/secrets/identity"
          "lkc.authorized_hosts:${pkgs.writeText "lkc-authorized-hosts" ""}"
        ];
      "arguments are escaped for systemd" = lib.hasInfix ''"unix:/run/50%%/agent.sock" "--verbose"'' filesService.ExecStart;
      "a key in the store is refused" =
        one (evaluate {
          guest = {
            enable = true;
            identityFile = "${builtins.storeDir}/key";
          };
        }).failures "identityFile";
      "two sources of authorised hosts are refused" =
        one (evaluate {
          guest = {
            enable = true;
            authorizedHosts = [ "one" ];
            authorizedHostsFile = "/file";
          };
        }).failures "not both";

      "k3s' own unit waits for its configuration" =
        (withUnit { }).systemd.services.k3s.unitConfig.ConditionPathExists == dropIn
        && (withUnit { }).systemd.paths.lkc-k3s.pathConfig == {
          PathChanged = dropIn;
          Unit = "k3s.service";
        };
      "no address of an earlier boot is believed" =
        (withUnit { }).systemd.tmpfiles.rules == [ networkDirectory "r! ${dropIn}" ];
      "the path is watched before the steward can write it" =
        (withUnit { }).systemd.paths.lkc-k3s.before == [ "lkc-steward.service" ];
      "k3s' own unit need not wait" = !(eager.systemd.services ? k3s) && !(eager.systemd ? paths);
      "a good k3s is accepted" = (withUnit { extraFlags = "--disable traefik"; }).failures == [ ];
      "another configuration file is refused" =
        one (withUnit { configPath = "/etc/k3s.yaml"; }).failures "configPath";
      "an address fixed by the image is refused" = one (withUnit { nodeIP = "10.0.0.1"; }).failures "nodeIP";
      "a name fixed by the image is refused" =
        one (withUnit { extraFlags = [ "--node-name=x" ]; }).failures "--node-name=x";

      "the agent runs k3s if told" =
        lib.hasInfix ''"--k3s" "${pkgs.k3s}/bin/k3s"'' managed.ExecStart
        && managed.KillMode == "process"
        && managed.Delegate
        && managed.ImportCredential == "lkc.*"
        && builtins.filter (name: confinement name != null) (builtins.attrNames managed) == [ ];
      "an agent that runs k3s needs no steward" =
        !(managed ? User)
        && !(managed ? Environment)
        && !(managedSystem ? sockets)
        && !(managedSystem.services ? lkc-steward)
        && !(lib.hasInfix "steward" managedSystem.services.lkc-guest.unitConfig.Wants)
        && !(lib.hasInfix "steward" managedSystem.services.lkc-guest-network.serviceConfig.ExecStart);
      "two that run k3s are refused" =
        one (evaluate {
          guest = managing;
          k3s.enable = true;
        }).failures "services.k3s";

      "its interfaces are left alone by everybody else" =
        let
          made = evaluate {
            guest = {
              enable = true;
              interfaces = [ "enp5s0" ];
            };
          };
        in
        made.systemd.network.networks."05-lkc" == {
          matchConfig.Name = "enp5s0";
          linkConfig.Unmanaged = true;
        }
        && made.networking.dhcpcd.denyInterfaces == [ "enp5s0" ];

      "its interfaces have DHCP until the host says something else" =
        let
          made = evaluate {
            guest = {
              enable = true;
              dhcpFallback = [ "en*" "eth*" ];
            };
          };
          fallback = made.systemd.network.networks."90-lkc-dhcp";
        in
        fallback.matchConfig.Name == "en* eth*"
        && fallback.networkConfig.DHCP == "yes"
        && made.systemd.network.enable;
      "an interface is not left alone and set up" =
        one
          (evaluate {
            guest = {
              enable = true;
              interfaces = [ "eth0" ];
              dhcpFallback = [ "eth0" ];
            };
          }).failures "dhcpFallback";
    };

  # As NixOS writes them, for whoever compares them with the packaged ones.
  units =
    let
      standIn = import ./stand-in.nix { };
      inherit (standIn) lib;
      of = guest: standIn.evaluate [ standIn.nixos ../../nixos-module ] {
        services = {
          lkc-guest = { enable = true; } // guest;
          k3s.enable = true;
        };
      };
      made = of { };
      withClock = (of { setClock = true; }).systemd.services.lkc-steward.serviceConfig;
      given = name: values: if values == [ ] then { } else { ${name} = builtins.concatStringsSep " " values; };
      withInstall = install: made: if install == { } then made else made // { Install = install; };
      unit = parts: unit: withInstall (given "WantedBy" (unit.wantedBy or [ ])) (parts // {
        Unit = unit.unitConfig or { } // { Description = unit.description; } // given "Before" (unit.before or [ ]);
      });
      steward = made.systemd.services.lkc-steward;
      exec = made.systemd.services."lkc-exec@";
      socket = name: unit { Socket = made.systemd.sockets.${name}.socketConfig; } made.systemd.sockets.${name};
      agent = made.systemd.services.lkc-guest;
      network = made.systemd.services.lkc-guest-network;
      path = made.systemd.paths.lkc-k3s;
    in
    {
      "lkc-guest.service" = unit { Service = agent.serviceConfig; } agent;
      "lkc-steward.service" = unit { Service = steward.serviceConfig; } steward;
      "lkc-steward.socket" = socket "lkc-steward";
      "lkc-exec@.service" = unit { Service = exec.serviceConfig; } exec;
      "lkc-exec.socket" = socket "lkc-exec";
      "lkc-guest-network.service" = unit { Service = network.serviceConfig; } network;
      "lkc-k3s.path" = unit { Path = path.pathConfig; } path;
      "k3s-lkc.conf".Unit = made.systemd.services.k3s.unitConfig;
      "set-clock.conf".Service = {
        inherit (withClock) Environment ProtectClock;
        CapabilityBoundingSet = lib.last (lib.splitString " " withClock.CapabilityBoundingSet);
        SystemCallFilter = lib.last withClock.SystemCallFilter;
      };
    };

in
{
  checked = builtins.length (builtins.concatMap (system: builtins.attrNames (checks system)) systems);
  broken = builtins.concatMap
    (system: map (name: "${system}: ${name}") ((import ./stand-in.nix { }).broken (checks system)))
    systems;
  inherit units;
}
