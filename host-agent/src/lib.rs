//! `lkc-host`: the command line and the per-user daemon behind it.
//!
//! [`cli`] says what can be asked, [`commands`] ask it of the daemon through [`control`], [`daemon`]
//! does it: a pure [`daemon::state`], a link per node, a listener per forward. [`machine`] makes
//! what a node runs on, [`carrier`] reaches it. Only [`output`] prints.

use std::{ffi::OsString, panic, process::ExitCode};

pub mod carrier;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod daemon;
pub mod error;
pub mod kubeconfig;
pub mod machine;
pub mod output;
pub mod paths;
pub mod sanitize;
pub mod socks;

/// Runs the program.
///
/// What must happen in a process of one thread comes first: the parts of a machine, then the answer
/// to a shell that completes.
#[must_use]
pub fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1).and_then(|command| command.to_str()) {
        Some(machine::sandbox::ENTER_COMMAND) => return machine::sandbox::enter_main(&args[2..]),
        Some(machine::sandbox::INIT_COMMAND) => return machine::sandbox::init_main(&args[2..]),
        Some(machine::qemu::KEEPER_COMMAND) => return machine::qemu::keeper_main(),
        Some(machine::qemu::CHILD_COMMAND) => return machine::qemu::child_main(&args[2..]),
        _ => {}
    }
    if let Some(answered) = cli::complete::answer(&args) {
        return answered;
    }
    output::install_panic_hook();
    panic::catch_unwind(|| commands::main(args))
        .unwrap_or_else(|_| ExitCode::from(error::Kind::Bug.exit_code()))
}
