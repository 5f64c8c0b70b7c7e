# systemd's units of a user for `programs.lkc`: the daemon, and each cluster that is brought up at
# login. By section, as home-manager takes them.
{ lib, result }:
let
  unit = description: service: {
    Unit.Description = description;
    Service = {
      # Machines outlive the daemon.
      KillMode = "process";
      Environment = [ "PATH=${result.path}" ];
      Restart = "on-failure";
    }
    // service;
    Install.WantedBy = [ "default.target" ];
  };
in
{
  # It ends by itself when it has been idle for long, or with 7 when another runs already.
  lkc = unit "lkc's daemon" {
    Type = "exec";
    ExecStart = "${result.program} daemon run";
    SuccessExitStatus = 7;
    RestartSec = 1;
  };
}
  // lib.listToAttrs (
  map
    (name: {
      name = "lkc-${name}";
      value =
        lib.recursiveUpdate
          (unit "k3s cluster ${name}" {
            Type = "oneshot";
            RemainAfterExit = true;
            WorkingDirectory = "%h";
            ExecStart = "${result.program} up ${name}";
            # What it needs may come later; a wrong lkc.toml stays wrong.
            RestartSec = 30;
            RestartPreventExitStatus = "2 10";
            TimeoutStartSec = "infinity";
          })
          {
            Unit = {
              Wants = [ "lkc.service" ];
              After = [ "lkc.service" ];
            };
          };
    })
    result.started
)
