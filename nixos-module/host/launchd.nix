# launchd's jobs for `programs.lkc`: the daemon, and each cluster that is brought up at login.
{ lib, result }:
let
  common = {
    RunAtLoad = true;
    ProcessType = "Background";
    # Machines outlive the daemon.
    AbandonProcessGroup = true;
    EnvironmentVariables.PATH = result.path;
  };
in
{
  # It ends by itself when it has been idle for long, or when another runs already. That is no crash.
  lkc = common // {
    ProgramArguments = [
      result.program
      "daemon"
      "run"
    ];
    KeepAlive.Crashed = true;
  };
}
  // lib.listToAttrs (
  map
    (name: {
      name = "lkc-${name}";
      value = common // {
        ProgramArguments = [
          result.program
          "up"
          name
        ];
        # What it needs may come later: tried again each minute.
        KeepAlive.SuccessfulExit = false;
        ThrottleInterval = 60;
      };
    })
    result.started
)
