//! `lkc-soak`: the real programs under load, for as long as it takes to trust them.
//!
//! ```sh
//! cargo build --release
//! ./target/release/lkc-soak load          # a million short connections
//! ./target/release/lkc-soak soak          # 100 GiB in streams of every shape, with faults
//! ```
//!
//! [`arrangement`] brings up a cluster of its own with the programs beside this one and a forward
//! into it. [`load`] wants many connections without a failure and nothing left of them afterwards.
//! [`soak`] wants every byte where it belongs, whatever happens: its streams are described by
//! `soak/plan`, judged by `soak/ledger`, and disturbed by `soak/faults`; a fault that does not show
//! fails the run, for then nothing was tested. Both end with exit code 1 when anything is wrong.
//!
//! The server listens in the machine's network, where only root may go.

mod arrangement;
mod load;
mod options;
mod report;
mod soak;
mod usage;

use std::process::ExitCode;

use clap::Parser;
use options::{Command, Options};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let options = Options::parse();
    let ran = Builder::new_multi_thread().enable_all().build();
    let ran = ran
        .map_err(|error| Failure::Here(format!("cannot start the runtime: {error}")))
        .and_then(|runtime| match &options.command {
            Command::Load(wanted) => load::run(&runtime, wanted),
            Command::Soak(wanted) => soak::run(&runtime, wanted),
        });
    match ran {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            report::failure(&failure);
            match failure {
                // As a shell says that a signal ended a program.
                Failure::Interrupted => ExitCode::from(130),
                Failure::Here(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Something that has nothing to do with what is tested.
    #[error("{0}")]
    Here(String),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}
