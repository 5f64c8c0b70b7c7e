# `programs.lkc`, the same on every system: clusters in, the settings of lkc.toml out.
{ config
, lib
, pkgs
, ...
}:
let
  cfg = config.programs.lkc;
  toml = pkgs.formats.toml { };
  inherit (lib) mkOption types;

  said = lib.filterAttrsRecursive (_: value: value != null && value != { });
  clusters = lib.filterAttrs (_: cluster: cluster.enable) cfg.clusters;

  # lkc-host counts the cluster's addresses and ports from one number, and so did whoever chose
  # 192.100.0.10 for the first cluster and 192.100.0.11 for the second.
  indexOf =
    ip:
    let
      octets = builtins.match "[0-9]+[.][0-9]+[.][0-9]+[.]([1-9][0-9])(/[0-9]+)?" ip;
    in
    if octets == null then null else lib.toInt (builtins.head octets) - 10;

  cluster = cluster: {
    index =
      if cluster.index == null && cluster.ip != null then indexOf cluster.ip else cluster.index;
    address =
      if cluster.ip == null || lib.hasInfix "/" cluster.ip then
        cluster.ip
      else
        cluster.ip + (if lib.hasInfix ":" cluster.ip then "/64" else "/24");
    inherit (cluster) gateway;
    ports = {
      api = cluster.apiPort;
      http = cluster.httpPort;
      https = cluster.httpsPort;
      ssh = cluster.sshPort;
    };
    vm = lib.optionalAttrs (cluster.image != null) {
      inherit (cluster) image memory;
      cpus = cluster.cpu;
    };
  };

  withoutMachine = lib.filterAttrs
    (
      _: cluster:
        cluster.image == null
        && !(cluster.settings ? vm)
        && (cluster.cpu != null || cluster.memory != null)
    )
    clusters;

  nullOr =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      inherit description;
    };

  clusterOptions.options = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether lkc.toml has this cluster.";
    };
    index = nullOr (types.ints.between 0 89) ''
      Number that fixes the cluster's ports and addresses. Unless set it follows from `ip`: 0 for an
      address that ends in 10, 1 for 11.
    '';
    ip = nullOr types.str ''
      Address of the node. Without the length of its prefix that is 24, or 64 of IPv6.
    '';
    gateway = nullOr types.str "Default gateway of the node.";
    apiPort = nullOr types.port "Port of this host for the API; 6443 + index unless set.";
    httpPort = nullOr types.port "Port of this host for HTTP; 8080 + index unless set.";
    httpsPort = nullOr types.port "Port of this host for HTTPS; 8443 + index unless set.";
    sshPort = nullOr types.port "Port of this host for SSH; 2210 + index unless set.";
    image = nullOr types.str ''
      Disk image of a virtual machine that lkc makes, or an output of a flake that is one.
    '';
    cpu = nullOr types.ints.positive "Processors of that machine.";
    memory = nullOr types.str "Memory of that machine, such as `8GiB`.";
    autoStart = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the cluster is brought up when the user logs in.";
    };
    settings = mkOption {
      inherit (toml) type;
      default = { };
      example = {
        carriers = [ "exec:incus exec k3s-dev -- lkc-guest stdio" ];
        via = [ "ssh:lima-colima" ];
        cni = "none";
      };
      description = "Anything else that lkc.toml can say of a cluster; it wins over the options.";
    };
  };
in
{
  imports =
    map (name: lib.mkAliasOptionModule [ "programs" "lkc" name ] [ "programs" "lkc" "clusters" ])
      [
        "portForwards"
        "k3sProfiles"
      ];

  options.programs.lkc = {
    enable = lib.mkEnableOption "lkc, local k3s clusters";

    package = mkOption {
      type = types.package;
      default = pkgs.callPackage ../package.nix { program = "lkc-host"; };
      defaultText = lib.literalExpression ''pkgs.callPackage ./package.nix { program = "lkc-host"; }'';
      description = "Package that has `bin/lkc-host`.";
    };

    extraPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.qemu pkgs.openssh ]";
      description = "What the daemon runs besides what is installed: QEMU, incus, nix.";
    };

    clusters = mkOption {
      type = types.attrsOf (types.submodule clusterOptions);
      default = { };
      example = {
        k3s-dev.ip = "192.100.0.10";
        k3s-capi.ip = "192.100.0.11";
      };
      description = ''
        The clusters of lkc.toml. What was said as `portForwards.NAME` or `k3sProfiles.NAME` can be
        said here by these names too, as it is.
      '';
    };

    settings = mkOption {
      inherit (toml) type;
      default = { };
      example.default = "k3s-dev";
      description = "Anything else that lkc.toml can say; it wins over the options.";
    };

    path = mkOption {
      type = types.listOf types.str;
      internal = true;
      default = [ ];
      description = "Where programs of the system and of the user are.";
    };

    result = mkOption {
      type = types.attrs;
      internal = true;
      readOnly = true;
      description = "What the modules of the systems make something of.";
    };
  };

  config = lib.mkIf cfg.enable {
    warnings = lib.mapAttrsToList
      (
        name: _:
          "programs.lkc.clusters.${name}: cpu and memory are for a machine that lkc makes of an image; whoever makes this one decides them."
      )
      withoutMachine;

    programs.lkc.result = rec {
      settings = lib.recursiveUpdate
        (said {
          cluster = lib.mapAttrs (_: c: lib.recursiveUpdate (said (cluster c)) c.settings) clusters;
        })
        cfg.settings;
      file = toml.generate "lkc.toml" settings;
      program = lib.getExe' cfg.package "lkc-host";
      path = lib.concatStringsSep ":" (lib.optional (cfg.extraPackages != [ ]) (lib.makeBinPath cfg.extraPackages) ++ cfg.path);
      started = builtins.attrNames (lib.filterAttrs (_: c: c.autoStart) clusters);
    };
  };
}
