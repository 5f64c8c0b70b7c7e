//! The command line's first word, and the exit code.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::{log, options, server, version};

const USAGE: &str = "\
k3s-simulator answers the Kubernetes API as k3s does and runs no containers

Usage:
  k3s-simulator server [flags of k3s server] [--simulate-… flags]
  k3s-simulator --version

Simulation flags (also keys of config.yaml); durations like 250ms, 2s, 1m:
  --simulate-api-delay DURATION             from the start to listening (100ms)
  --simulate-ready-delay DURATION           from listening until /readyz is ok (300ms)
  --simulate-node-delay DURATION            from ready until the node is registered (100ms)
  --simulate-node-ready-delay DURATION      from registered until the node is Ready (400ms)
  --simulate-system-delay DURATION          from a pod's being scheduled until it is ready (300ms)
  --simulate-fail TEXT                      fail before listening, with this message
  --simulate-fail-times N                   only the first N starts fail
  --simulate-crash-after DURATION           exit with code 1 this long after listening
  --simulate-rotate-after DURATION          renew the admin's certificate and k3s.yaml (SIGHUP: at once)
  --simulate-node-not-ready-after DURATION  the node fails this long after it was Ready
  --simulate-hostile KIND                   what k3s.yaml holds: wrong-pem, ten-megabytes,
                                            terminal-escapes, yaml-bomb or exec-plugin
";

pub(crate) fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<_> = arguments.skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--version" | "-v" | "version") => print(&format!(
            "k3s-simulator version {} (lkc)\n",
            version::KUBERNETES
        )),
        None | Some("--help" | "-h" | "help") => print(USAGE),
        Some("server") => serve(arguments.get(1..).unwrap_or_default()),
        Some(other) => {
            log::fatal(&format!(
                "k3s-simulator has no command \"{other}\": it simulates `k3s server` only"
            ));
            ExitCode::from(1)
        }
    }
}

fn serve(arguments: &[String]) -> ExitCode {
    if arguments
        .iter()
        .any(|argument| matches!(argument.as_str(), "--help" | "-h"))
    {
        return print(USAGE);
    }
    let options = match options::read(arguments, |name| std::env::var(name).ok()) {
        Ok(options) => options,
        Err(error) => return fail(&error),
    };
    match server::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    log::fatal(&message);
    ExitCode::from(1)
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}
