# `services.lkc-guest`: the guest agent in a NixOS image.
#
# One image serves every cluster: what differs between them (keys, addresses, names, k3s' options)
# comes from the host when the machine is made and when `lkc-host up` connects.
{ config
, lib
, pkgs
, utils
, ...
}:
let
  cfg = config.services.lkc-guest;
  inherit (config.services) k3s;

  # The agent's part of k3s' configuration. k3s reads this directory only beside its default file.
  dropIn = k3sDropIn.Unit.ConditionPathExists;

  authorizedHosts =
    if cfg.authorizedHosts != [ ] then
      pkgs.writeText "lkc-authorized-hosts" (lib.concatLines cfg.authorizedHosts)
    else
      cfg.authorizedHostsFile;

  command = utils.escapeSystemdExecArgs (
    [
      (lib.getExe' cfg.package "lkc-guest")
      "run"
    ]
    ++ lib.concatMap
      (address: [
        "--listen"
        address
      ])
      cfg.listen
    ++ lib.optionals cfg.k3s.manage [
      "--k3s"
      (lib.getExe' cfg.k3s.package "k3s")
    ]
    ++ cfg.extraArgs
  );

  # The agent looks for these names in its credentials directory.
  loaded =
    lib.optional (cfg.identityFile != null) "lkc.identity:${cfg.identityFile}"
    ++ lib.optional (authorizedHosts != null) "lkc.authorized_hosts:${authorizedHosts}";

  # Arguments on k3s' command line win over the file that the agent writes.
  flags = if builtins.isString k3s.extraFlags then [ k3s.extraFlags ] else k3s.extraFlags;
  fixedByImage =
    lib.optional (k3s.nodeIP != null) "services.k3s.nodeIP"
    ++ lib.optional (k3s.nodeName != null) "services.k3s.nodeName"
    ++ map (flag: "services.k3s.extraFlags: ${flag}") (
      builtins.filter (flag: lib.any (name: lib.hasInfix name flag) clusterFlags) flags
    );
  clusterFlags = [
    "--node-ip"
    "--node-name"
    "--flannel-iface"
    "--advertise-address"
  ];

  units = ../guest-agent/systemd;
  readUnit = import ./unit.nix { inherit lib; };
  agentUnit = readUnit (units + "/lkc-guest.service");
  stewardUnit = readUnit (units + "/lkc-steward.service");
  execUnit = readUnit (units + "/lkc-exec@.service");
  networkUnit = readUnit (units + "/lkc-guest-network.service");
  pathUnit = readUnit (units + "/lkc-k3s.path");
  k3sDropIn = readUnit (units + "/k3s-lkc.conf");
  clockDropIn = (readUnit (units + "/set-clock.conf")).Service;
  words = lib.splitString " ";

  # What a unit runs, from the package.
  commandOf =
    unit:
    utils.escapeSystemdExecArgs (
      [ (lib.getExe' cfg.package "lkc-guest") ] ++ builtins.tail (words unit.Service.ExecStart)
    );
  serviceOf = unit: {
    description = unit.Unit.Description;
    unitConfig = removeAttrs unit.Unit [
      "Description"
      "Before"
    ];
    restartIfChanged = false;
    serviceConfig = unit.Service // { ExecStart = commandOf unit; };
  };
  socketOf =
    name:
    let
      unit = readUnit (units + "/${name}.socket");
    in
    {
      description = unit.Unit.Description;
      wantedBy = words unit.Install.WantedBy;
      socketConfig = unit.Socket;
    };
  tmpfiles = builtins.filter (line: line != "" && !lib.hasPrefix "#" line) (
    lib.splitString "\n" (builtins.readFile (units + "/tmpfiles.conf"))
  );

  # What the unit's own file says, and what only this machine knows.
  agentAlone = agentUnit.Service // own;
  steward = serviceOf stewardUnit;
  # A drop-in's lists go on where the unit's end.
  stewardOfClock = steward.serviceConfig // clockDropIn // {
    CapabilityBoundingSet = "${stewardUnit.Service.CapabilityBoundingSet} ${clockDropIn.CapabilityBoundingSet}";
    SystemCallFilter = stewardUnit.Service.SystemCallFilter ++ [ clockDropIn.SystemCallFilter ];
  };
  own = {
    ExecStart = command;
  }
  // lib.optionalAttrs (loaded != [ ]) { LoadCredential = loaded; };

  # With k3s as its child nothing of this holds: k3s mounts, loads modules, makes namespaces and
  # runs whatever its pods are. It gets what its own unit would give it, and outlives the agent.
  agentWithK3s =
    builtins.intersectAttrs (lib.genAttrs unconfined (_: null)) agentUnit.Service
    // own
    // {
      Delegate = true;
      KillMode = "process";
      LimitNOFILE = 1048576;
      LimitNPROC = "infinity";
      TasksMax = "infinity";
    }
    // lib.optionalAttrs cfg.setClock { inherit (clockDropIn) Environment; };
  unconfined = [
    "Type"
    "NotifyAccess"
    "WatchdogSec"
    "Restart"
    "RestartSec"
    "ImportCredential"
    "RuntimeDirectory"
    "RuntimeDirectoryMode"
    "RuntimeDirectoryPreserve"
    "StateDirectory"
    "StateDirectoryMode"
    "UMask"
    "LimitCORE"
    "OOMPolicy"
    "OOMScoreAdjust"
  ];
in
{
  options.services.lkc-guest = {
    enable = lib.mkEnableOption "the lkc guest agent";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { program = "lkc-guest"; };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "Package that has `bin/lkc-guest`.";
    };

    listen = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ "unix:/run/lkc/agent.sock" ];
      description = "Where the agent accepts its hosts.";
    };

    identityFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      example = "/var/lib/secrets/lkc-identity";
      description = ''
        File on the machine with the agent's private key, PEM. `null` takes the systemd credential
        `lkc.identity`, which the host hands over when it makes the machine: one image then serves
        many machines.
      '';
    };

    authorizedHosts = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "ed25519:AAAA… my laptop" ];
      description = ''
        Public keys of the hosts that may connect. They are not secret. Empty takes
        {option}`services.lkc-guest.authorizedHostsFile`.
      '';
    };

    authorizedHostsFile = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = null;
      description = ''
        File on the machine with one public key a line. `null` takes the systemd credential
        `lkc.authorized_hosts`.
      '';
    };

    interfaces = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [ "enp5s0" ];
      description = ''
        Interfaces that the host configures through the agent. Neither systemd-networkd, dhcpcd
        nor NetworkManager touches them.
      '';
    };

    dhcpFallback = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      example = [
        "en*"
        "eth*"
      ];
      description = ''
        Interfaces that systemd-networkd sets up by DHCP and router advertisements for as long as
        no host has said anything else of them: a machine without its host then has a network.
      '';
    };

    setClock = lib.mkOption {
      type = lib.types.bool;
      default = false;
      description = ''
        Whether a host may set this machine's clock where it is seconds off, as after a sleep of
        the host that the machine slept through. A clock that the machine's own time service has
        synchronised is left to that.
      '';
    };

    k3s = {
      manage = lib.mkOption {
        type = lib.types.bool;
        default = false;
        description = ''
          Whether the agent runs k3s itself, as its child. Otherwise k3s is the machine's own
          service, {option}`services.k3s`, and the agent configures and watches it.
        '';
      };

      package = lib.mkOption {
        type = lib.types.package;
        default = pkgs.k3s;
        defaultText = lib.literalExpression "pkgs.k3s";
        description = "The k3s that the agent runs, if it does.";
      };

      waitForConfiguration = lib.mkOption {
        type = lib.types.bool;
        default = true;
        description = ''
          Whether {option}`services.k3s` starts only once the host has set the network and the
          agent has written its part of k3s' configuration (node address, node name, server and
          token), at every boot. A k3s that starts with a wrong address keeps it: under embedded
          etcd it does not start again with another. Switch this off for a machine that must come
          up without its host.
        '';
      };
    };

    extraArgs = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = "Further arguments of `lkc-guest run`.";
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        assertions = [
          {
            assertion = !(cfg.k3s.manage && k3s.enable);
            message = "services.lkc-guest.k3s.manage: the agent runs k3s itself, so disable services.k3s.";
          }
          {
            assertion = cfg.identityFile == null || !lib.hasPrefix builtins.storeDir cfg.identityFile;
            message = "services.lkc-guest.identityFile: everybody can read the store; give the path of a file that is on the machine.";
          }
          {
            assertion = lib.intersectLists cfg.interfaces cfg.dhcpFallback == [ ];
            message = "services.lkc-guest: an interface is in interfaces, which leaves it alone, and in dhcpFallback.";
          }
          {
            assertion = cfg.authorizedHosts == [ ] || cfg.authorizedHostsFile == null;
            message = "services.lkc-guest: set authorizedHosts or authorizedHostsFile, not both.";
          }
        ];

        systemd.services.lkc-guest = {
          description = agentUnit.Unit.Description;
          before = words agentUnit.Unit.Before;
          wantedBy = words agentUnit.Install.WantedBy;
          unitConfig =
            removeAttrs agentUnit.Unit [
              "Description"
              "Before"
            ]
            // lib.optionalAttrs cfg.k3s.manage {
              Wants = "lkc-guest-network.service";
              After = "lkc-guest-network.service systemd-networkd.service dbus.socket";
            };
          # A switch must not cut the connection that it may be running over.
          restartIfChanged = false;
          serviceConfig = if cfg.k3s.manage then agentWithK3s else agentAlone;
        };
        systemd.services.lkc-guest-network =
          serviceOf networkUnit
          // {
            before = words networkUnit.Unit.Before ++ lib.optional cfg.k3s.manage "lkc-guest.service";
            wantedBy = words networkUnit.Install.WantedBy;
          }
          # The agent then keeps what was confirmed itself.
          // lib.optionalAttrs cfg.k3s.manage {
            serviceConfig = networkUnit.Service // {
              ExecStart = utils.escapeSystemdExecArgs [
                (lib.getExe' cfg.package "lkc-guest")
                "network"
                "restore"
              ];
            };
          };
        systemd.tmpfiles.rules = builtins.filter (lib.hasPrefix "d ") tmpfiles;
      }

      # An agent without privileges, and what it asks of root.
      (lib.mkIf (!cfg.k3s.manage) {
        users.users.lkc-guest = {
          isSystemUser = true;
          group = "lkc-guest";
          description = "lkc guest agent";
          home = "/var/lib/lkc";
        };
        users.groups.lkc-guest = { };
        services.udev.extraRules = builtins.readFile (units + "/udev.rules");
        systemd.services.lkc-steward = steward // {
          before = words stewardUnit.Unit.Before;
          serviceConfig = if cfg.setClock then stewardOfClock else steward.serviceConfig;
        };
        systemd.services."lkc-exec@" = serviceOf execUnit;
        systemd.sockets.lkc-steward = socketOf "lkc-steward";
        systemd.sockets.lkc-exec = socketOf "lkc-exec";
      })

      (lib.mkIf (!cfg.k3s.manage && k3s.enable) {
        assertions = [
          {
            assertion = k3s.configPath == null;
            message = "services.k3s.configPath: k3s would not read ${dropIn}, which the agent writes; use /etc/rancher/k3s/config.yaml, which needs no option.";
          }
          {
            assertion = fixedByImage == [ ];
            message = "services.lkc-guest: the host sets the node's address and name, so the image must not: ${lib.concatStringsSep ", " fixedByImage}.";
          }
        ];
      })

      (lib.mkIf (!cfg.k3s.manage && k3s.enable && cfg.k3s.waitForConfiguration) {
        systemd.tmpfiles.rules = builtins.filter (lib.hasPrefix "r! ") tmpfiles;
        systemd.services.k3s.unitConfig = k3sDropIn.Unit;
        systemd.paths.lkc-k3s = {
          description = pathUnit.Unit.Description;
          before = words pathUnit.Unit.Before;
          wantedBy = words pathUnit.Install.WantedBy;
          pathConfig = pathUnit.Path;
        };
      })

      (lib.mkIf (cfg.dhcpFallback != [ ]) {
        systemd.network = {
          enable = true;
          # The agent's own files sort before it, and networkd takes the first that matches.
          networks."90-lkc-dhcp" = {
            matchConfig.Name = lib.concatStringsSep " " cfg.dhcpFallback;
            networkConfig = {
              DHCP = "yes";
              IPv6AcceptRA = true;
            };
          };
        };
      })

      (lib.mkIf (cfg.interfaces != [ ]) {
        systemd.network.networks."05-lkc" = {
          matchConfig.Name = lib.concatStringsSep " " cfg.interfaces;
          linkConfig.Unmanaged = true;
        };
        systemd.network.wait-online.ignoredInterfaces = cfg.interfaces;
        networking.dhcpcd.denyInterfaces = cfg.interfaces;
        networking.networkmanager.unmanaged = cfg.interfaces;
      })
    ]
  );
}
