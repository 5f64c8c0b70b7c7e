# `programs.lkc` in nix-darwin, for whoever has no home-manager. A user's own lkc.toml wins.
{ config
, lib
, ...
}:
let
  cfg = config.programs.lkc;
  inherit (cfg) result;
in
{
  imports = [ ./options.nix ];

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    environment.etc."xdg/lkc/lkc.toml".source = result.file;
    programs.lkc.path = [
      "/run/current-system/sw/bin"
      "/opt/homebrew/bin"
      "/usr/local/bin"
      "/usr/bin"
      "/bin"
      "/usr/sbin"
      "/sbin"
    ];
    launchd.user.agents = lib.mapAttrs (_: job: { serviceConfig = job; }) (
      import ./launchd.nix { inherit lib result; }
    );
  };
}
