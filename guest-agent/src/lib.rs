//! `lkc-guest`: applies the guest's network, runs or finds k3s, reports the readiness ladder, hands
//! out the cluster's credentials and ends the tunnel. A host gets in by its key, or once by a token
//! ([`enrolment`]).
//!
//! Start at [`agent`], which owns every task; [`host_link`] is one connected host. What decides is
//! pure: [`network::plan`], [`readiness`], the policies of [`dial`] and [`reverse`]. What touches
//! the system is at the edge: [`network::netlink`], [`k3s`], [`observe`], [`listen`].

pub mod agent;
pub mod clock;
pub mod config;
pub mod dial;
pub mod enrolment;
pub mod exec;
mod follow_log;
pub mod host_link;
pub mod k3s;
pub mod listen;
pub mod logs;
pub mod network;
pub mod observe;
pub mod readiness;
pub mod reverse;
pub mod service_manager;
pub mod steward;
pub mod usage;

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, process::ExitCode, sync::Mutex};

use clap::Parser;
use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    fmt::writer::MakeWriterExt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use config::{Cli, Command};

/// Exit code of a failure to start.
const FAILED: u8 = 1;

/// Exit code of a defect of ours.
const DEFECT: u8 = 70;

/// Log size in bytes at which the file is put aside at the next start.
const MAX_LOG: u64 = 8 * 1024 * 1024;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to(&cli);
    match agent::run(cli) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{}", observe::describe(&error));
            ExitCode::from(if matches!(error, agent::AgentError::Defect(_)) {
                DEFECT
            } else {
                FAILED
            })
        }
    }
}

/// Logs to standard error, and to a file where no journal takes it. A file that cannot be opened
/// is no reason not to serve.
fn log_to(cli: &Cli) {
    let path = match &cli.command {
        Command::Run(args) => args.log_path(),
        Command::Identity(_)
        | Command::Token(_)
        | Command::Stdio(_)
        | Command::Relay(_)
        | Command::Steward(_)
        | Command::Execute
        | Command::Network(_) => None,
    };
    let file = path.and_then(|path| {
        // The rotation is a courtesy; the log goes on without it.
        let _ = logs::rotate_if_larger(&path, MAX_LOG);
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .ok()
    });
    let builder = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_ansi(false)
        .with_target(false);
    match file {
        Some(file) => builder
            .with_writer(std::io::stderr.and(Mutex::new(file)))
            .finish()
            .with(log_filter())
            .init(),
        None => builder
            .with_writer(std::io::stderr)
            .finish()
            .with(log_filter())
            .init(),
    }
}

/// What the API's client says by itself: an error for each answer that it did not get, which is
/// what waiting for an API looks like. The ladder says it once.
const CLIENT_TARGET: &str = "kube_client";

/// `info`, or what `LKC_LOG` says by target, as `info,lkc_guest=debug`. Without the regular
/// expressions of the usual filter, which would be a good part of the program.
fn log_filter() -> Targets {
    let default = || {
        Targets::new()
            .with_default(Level::INFO)
            .with_target(CLIENT_TARGET, LevelFilter::OFF)
    };
    std::env::var("LKC_LOG").map_or_else(
        |_| default(),
        |text| text.parse().unwrap_or_else(|_| default()),
    )
}
