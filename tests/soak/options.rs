//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Put the real lkc-host and lkc-guest under load, and compare every byte
#[derive(Debug, Parser)]
#[command(name = "lkc-soak")]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Open many short connections, and want no failure and nothing left of them
    Load(LoadOptions),
    /// Move much through streams of every shape while the carrier breaks, and want every byte right
    Soak(SoakOptions),
}

/// How much load.
#[derive(Debug, Args)]
pub(crate) struct LoadOptions {
    #[command(flatten)]
    pub(crate) every: EveryOptions,
    /// Connections, the warm-up apart
    #[arg(long, default_value_t = 1_000_000, conflicts_with = "short")]
    pub(crate) connections: u64,
    /// Connections before memory is looked at first; else a fifth, at most 50,000
    #[arg(long)]
    pub(crate) warm_up: Option<u64>,
    /// Clients that connect at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) clients: u16,
    /// How the bytes travel
    #[arg(long, value_enum, default_value_t = Way::Sockets)]
    pub(crate) way: Way,
}

impl LoadOptions {
    pub(crate) const fn connections(&self) -> u64 {
        if self.every.short {
            20_000
        } else {
            self.connections
        }
    }

    pub(crate) fn warm_up(&self) -> u64 {
        let fifth = (self.connections() / 5).min(50_000);
        self.warm_up.unwrap_or(fifth)
    }
}

/// How much soak.
#[derive(Debug, Args)]
pub(crate) struct SoakOptions {
    #[command(flatten)]
    pub(crate) every: EveryOptions,
    /// GiB to move, both directions together
    #[arg(long, default_value_t = 100, conflicts_with = "short", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) gib: u64,
    /// Streams at once
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(4..=200))]
    pub(crate) streams: u16,
    /// How the bytes travel
    #[arg(long, value_enum, default_value_t = Way::Streams)]
    pub(crate) way: Way,
}

impl SoakOptions {
    pub(crate) const fn bytes(&self) -> u64 {
        let gib = if self.every.short { 2 } else { self.gib };
        gib << 30
    }
}

/// What both have.
#[derive(Debug, Args)]
pub(crate) struct EveryOptions {
    /// The form for every change: 20,000 connections, or 2 GiB
    #[arg(long)]
    pub(crate) short: bool,
    /// What is done in which order; else chosen and printed
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write the result to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where lkc-host, lkc-guest and k3s-simulator are; else beside this program
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) programs: Option<PathBuf>,
}

/// How the bytes of a connection travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// As users have it: the guest hands its connected sockets over
    Sockets,
    /// Each connection is a stream of the encrypted link
    Streams,
}

impl Way {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Streams => "streams",
        }
    }
}
