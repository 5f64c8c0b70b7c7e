//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Measure the tunnel of lkc beside direct connections, socat, ssh, haproxy and bare relays
#[derive(Debug, Parser)]
#[command(name = "lkc-bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) run: RunOptions,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Short windows and the most telling candidates: at most two minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these candidates; ratios need `direct` and `socat-2` among them
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Another build of lkc-bench, whose tunnel is measured beside ours as `lkc-unix-before`
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) before: Option<PathBuf>,
    /// Rounds; each measures every candidate once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Order of the rounds; else chosen and printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write everything measured to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Replace RESULTS.md beside the benchmark's source by this run
    #[arg(long)]
    pub(crate) record: bool,
    /// Name the candidates and whether they can be measured here
    #[arg(long)]
    pub(crate) list: bool,
}

/// Other things to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move known bytes through each form of our tunnel and compare them
    Check {
        /// Also write 64 KiB in two pieces, split at each of the 65,537 places: 4 GiB per form
        #[arg(long)]
        every_split: bool,
    },
    /// Say where one bulk stream's time goes: user and kernel, functions, system calls
    ///
    /// Functions need perf and system calls strace. A release build has no names of its own; build
    /// with `--config profile.release.strip=false --config profile.release.debug=1` to see them.
    Profile(ProfileOptions),
    #[cfg(feature = "programs")]
    /// Compare a link over each carrier that needs no virtual machine with the carrier's own bytes
    ///
    /// Takes half a minute per round. The programs beside this one are measured: build them all
    /// with `cargo build --release --workspace`, and this with `--features programs`.
    Carriers {
        /// How often each is measured
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    #[command(hide = true)]
    TunnelGuest,
    #[command(hide = true)]
    TunnelHost,
    #[command(hide = true)]
    RelayHop,
    #[command(hide = true)]
    SpliceHop,
    #[command(hide = true)]
    Backend,
}

/// What to profile.
#[derive(Debug, Args)]
pub(crate) struct ProfileOptions {
    /// Whose processes to look at
    #[arg(long, default_value = "lkc-unix", value_name = "NAME")]
    pub(crate) candidate: String,
    /// Which way the bytes go: up is from the client to the backend
    #[arg(long, value_enum, default_value_t = crate::load::Direction::Up)]
    pub(crate) direction: crate::load::Direction,
    /// Streams at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) streams: u32,
    /// Seconds of each look
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) seconds: u64,
}
