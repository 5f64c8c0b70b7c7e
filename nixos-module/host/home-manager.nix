# `programs.lkc` in home-manager, on Linux and macOS.
{ config
, lib
, pkgs
, ...
}:
let
  cfg = config.programs.lkc;
  inherit (cfg) result;
  inherit (pkgs.stdenv.hostPlatform) isDarwin;
in
{
  imports = [ ./options.nix ];

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        home.packages = [ cfg.package ];
        xdg.configFile."lkc/lkc.toml".source = result.file;
      }

      (lib.mkIf (!isDarwin) {
        programs.lkc.path = [
          "%h/.nix-profile/bin"
          "/etc/profiles/per-user/%u/bin"
          "/run/wrappers/bin"
          "/run/current-system/sw/bin"
          "/usr/local/bin"
          "/usr/bin"
          "/bin"
        ];
        systemd.user.services = import ./systemd.nix { inherit lib result; };
      })

      (lib.mkIf isDarwin {
        programs.lkc.path = [
          "${config.home.profileDirectory}/bin"
          "/run/current-system/sw/bin"
          "/opt/homebrew/bin"
          "/usr/local/bin"
          "/usr/bin"
          "/bin"
          "/usr/sbin"
          "/sbin"
        ];
        launchd.agents = lib.mapAttrs
          (_: job: {
            enable = true;
            config = job;
          })
          (import ./launchd.nix { inherit lib result; });
      })
    ]
  );
}
