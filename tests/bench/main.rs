//! `lkc-bench`: our tunnel beside what its users could pick instead, measured on this machine.
//!
//! ```sh
//! cargo run --release -p lkc-tests --bin lkc-bench -- --quick
//! ```
//!
//! One command starts everything on loopback, measures every candidate in shuffled, interleaved
//! rounds, prints medians with their spread and the goals, and ends what it started. [`candidates`]
//! knows how to start each tunnel, [`load`] is the client and the backend at its ends,
//! [`measurement`] what is measured, [`rounds`] in which order, [`report`] and [`record`] what is
//! made of it.
//!
//! Nothing here says pass or fail by time: a figure is for a person to read, with the machine's
//! load beside it. `lkc-bench check` is what a test may run: it moves known bytes and compares them.
//!
//! The load runs on plain threads in this process; every candidate runs in processes of its own.

mod backend_apart;
mod bare_relay;
mod candidates;
#[cfg(feature = "programs")]
mod carriers;
mod check;
mod children;
mod goals;
mod interrupt;
mod load;
mod machine;
mod measurement;
mod options;
mod profile;
mod record;
mod report;
mod results;
mod rounds;
mod shuffle;
mod splice_relay;
mod statistics;
mod tunnel;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use options::{Command, Options};

fn main() -> ExitCode {
    let result = run(Options::parse());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::failure(&failure);
            match failure {
                // As a shell says that a signal ended a program.
                Failure::Interrupted => ExitCode::from(130),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    match options.command {
        Some(Command::TunnelGuest) => tunnel::guest(),
        Some(Command::TunnelHost) => tunnel::host(),
        Some(Command::RelayHop) => bare_relay::run(),
        Some(Command::SpliceHop) => splice_relay::run(),
        Some(Command::Backend) => backend_apart::run(),
        Some(Command::Check { every_split }) => check::run(every_split),
        Some(Command::Profile(wanted)) => profile::run(&wanted),
        #[cfg(feature = "programs")]
        Some(Command::Carriers { rounds, json }) => carriers::run(rounds, json),
        None if options.run.list => {
            report::list();
            Ok(())
        }
        None => rounds::run(&options.run),
    }
}

/// Why something could not be started or measured, for a person to read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The operating system said no.
    #[error("cannot {what}: {source}")]
    System {
        what: String,
        source: std::io::Error,
    },
    /// The tool of a candidate is not there.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// A candidate did not do what it should.
    #[error("{0}")]
    Candidate(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// For `map_err`: what was tried.
    fn to<T: Into<String>>(what: T) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
