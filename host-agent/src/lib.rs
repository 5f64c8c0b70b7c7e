//! `lkc-host`: the command line and the per-user daemon behind it.
//!
//! [`cli`] says what can be asked, [`commands`] ask it of the daemon through [`control`], [`daemon`]
//! does it: a pure [`daemon::state`], a link per node, a listener per forward. [`machine`] makes
//! what a node runs on, [`carrier`] reaches it. Only [`output`] prints.

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

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
