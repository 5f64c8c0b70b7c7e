//! What each command does: asks the daemon, shows the answer, decides the exit code.

mod adopt;
mod completions;
mod context;
mod conversation;
mod daemon;
mod delete;
mod doctor;
mod down;
mod exec;
mod file_log;
mod follow;
mod forward;
mod identity;
mod image;
mod kubeconfig;
mod kubectl;
mod logs;
mod network;
mod own_kubeconfig;
mod passphrase;
mod program;
mod relay;
mod remembered;
mod restart;
mod snapshot;
mod ssh;
mod status;
mod terminal;
mod up;
mod version;
mod wait;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{Cli, Command, DaemonCommand, shield_kubectl},
    error::{CommandError, Kind},
    output::{self, Output, StdoutClosed},
};
use context::Context;

/// Exit code when nobody reads stdout any more, as of a program that SIGPIPE ends.
const STDOUT_CLOSED: u8 = 141;

/// Parses the command line, runs the command and says how it went.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(shield_kubectl(args)) {
        Ok(cli) => cli,
        Err(answer) => return output::usage(&answer),
    };
    if let Command::Daemon(daemon) = &cli.command
        && matches!(daemon.command, None | Some(DaemonCommand::Run))
    {
        return daemon::run(&cli.global);
    }
    let output = Output::new(&cli.global);
    output.install_log(cli.global.verbose);
    if let Command::Relay(args) = &cli.command {
        return match relay::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                output.error(&error);
                ExitCode::from(error.kind.exit_code())
            }
        };
    }
    match run_until_signal(&cli, &output) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Exit(code)) => ExitCode::from(code),
        Ok(End::Interrupted(exit_code)) => {
            output.interrupted(exit_code, interruption(&cli.command));
            ExitCode::from(exit_code)
        }
        Err(error) if error.source.is::<StdoutClosed>() => ExitCode::from(STDOUT_CLOSED),
        Err(error) => {
            if follows(&cli.command) {
                output.failed_event(&error);
            } else {
                output.error(&error);
            }
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// How a command ended well.
pub(crate) enum End {
    /// It did what was asked.
    Done,
    /// The exit code says it all.
    Exit(u8),
    /// A signal ended the waiting: its exit code.
    Interrupted(u8),
}

fn run_until_signal(cli: &Cli, output: &Output) -> Result<End, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::new(Kind::HostIo, error).context("cannot start"))?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new()?;
        tokio::select! {
            outcome = run(cli, output) => outcome,
            exit_code = signals.next(), if !passes_signals_on(&cli.command) => {
                Ok(End::Interrupted(exit_code))
            }
        }
    });
    // A read of the terminal cannot be cancelled and must not hold up the end.
    runtime.shutdown_background();
    outcome
}

async fn run(cli: &Cli, output: &Output) -> Result<End, CommandError> {
    let context = Context::new(&cli.global, output)?;
    loop {
        let outcome = run_once(cli, &context).await;
        if !passphrase::helped(&context, &outcome).await? {
            return outcome;
        }
    }
}

async fn run_once(cli: &Cli, context: &Context<'_>) -> Result<End, CommandError> {
    match &cli.command {
        Command::Up(args) => up::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Restart(args) => restart::run(context, args).await,
        Command::Delete(args) => delete::run(context, args).await,
        Command::Status(args) => status::run(context, args).await,
        Command::Wait(args) => wait::run(context, args).await,
        Command::Kubeconfig(args) => kubeconfig::run(context, args).await,
        Command::Kubectl(args) => kubectl::run(context, args).await,
        Command::Forward(args) => forward::run(context, args).await,
        Command::Network(args) => network::run(context, args).await,
        Command::Snapshot(args) => snapshot::run(context, args).await,
        Command::Logs(args) => logs::run(context, args).await,
        Command::Exec(args) => exec::run(context, args).await,
        Command::Ssh(args) => ssh::run(context, args).await,
        Command::Daemon(args) => daemon::ask(context, args.command.as_ref()).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Identity(args) => identity::run(context, args),
        Command::Adopt(args) => adopt::run(context, args).await,
        // Answered before anything was begun: it blocks.
        Command::Relay(args) => relay::run(args).map(|()| End::Done),
        Command::Completions(args) => completions::run(context, args),
        Command::Version(_) => version::run(context).await,
    }
}

/// Whether programs get one JSON object per line, the error last.
fn follows(command: &Command) -> bool {
    match command {
        Command::Up(_) | Command::Restart(_) | Command::Wait(_) => true,
        Command::Status(status) => status.watch,
        _ => false,
    }
}

/// Whether signals are for somebody else.
const fn passes_signals_on(command: &Command) -> bool {
    matches!(command, Command::Exec(_))
}

/// What goes on although nobody waits for it any more.
fn interruption(command: &Command) -> &'static str {
    match command {
        Command::Up(_) => {
            "stopped waiting; the cluster goes on coming up (`lkc-host wait` waits for it)"
        }
        Command::Restart(_) => {
            "stopped waiting; the cluster goes on restarting (`lkc-host wait` waits for it)"
        }
        Command::Down(_) => "stopped waiting; the cluster goes on going down",
        Command::Delete(_) => "stopped; a deletion that was begun goes on",
        Command::Wait(_) => "stopped waiting",
        _ => "",
    }
}

fn listen(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|error| {
        CommandError::new(Kind::HostIo, error).context("cannot listen for signals")
    })
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The exit code of the signal that comes first.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

#[cfg(test)]
mod tests;
