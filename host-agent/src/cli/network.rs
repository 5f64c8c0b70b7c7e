//! `lkc-host network`: what can be asked.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;

use super::complete;
use crate::config::{ClusterName, duration};

/// Change the network of a node so that a mistake takes itself back
///
/// `apply` has the guest try a configuration, reaches it again on a new link, and confirms; what is not
/// confirmed in time is taken back by the guest, and so is everything when it restarts before. What is
/// confirmed is set up at each boot, before k3s and without a host.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host network diff
  lkc-host network apply
  lkc-host network apply k3s-far --file network-config.yaml --deadline 60s
  lkc-host network status")]
pub struct Network {
    #[command(subcommand)]
    pub command: NetworkCommand,
}

/// What to do with the network.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Show what applying the configuration would change
    Diff(NetworkSource),
    /// Try the configuration and confirm it
    Apply(NetworkApply),
    /// Confirm a change that waits, on a new link
    Confirm(NetworkChange),
    /// Take a change that waits back at once
    Rollback(NetworkChange),
    /// Show how the last change stands
    Status(NetworkWhich),
}

/// Which cluster.
#[derive(Debug, Args)]
pub struct NetworkWhich {
    /// Name of the cluster [default: the one of `lkc.toml`, else the only one, else k3s-dev]
    #[arg(value_name = "CLUSTER", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
}

/// What to apply.
#[derive(Debug, Args)]
pub struct NetworkSource {
    #[command(flatten)]
    pub which: NetworkWhich,
    /// A network-config of version 2, as cloud-init and netplan have it [default: what the cluster is configured with]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// How to apply it.
#[derive(Debug, Args)]
pub struct NetworkApply {
    #[command(flatten)]
    pub source: NetworkSource,
    /// When the guest takes the change back unless it is confirmed, 1s to 600s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub deadline: Duration,
    /// What has to be reached for a confirmation [default: address for a machine that is there already without hops, else link]
    #[arg(long, value_name = "WHAT")]
    pub probe: Option<Probe>,
    /// Leave the confirmation to `lkc-host network confirm`
    #[arg(long)]
    pub no_confirm: bool,
}

/// What a host has to reach before it confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// An address of the new configuration, from this host
    Address,
    /// The agent, on a new link
    Link,
}

/// Which change.
#[derive(Debug, Args)]
pub struct NetworkChange {
    #[command(flatten)]
    pub which: NetworkWhich,
    /// The change, as `network status` shows it [default: the one that waits]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
}
