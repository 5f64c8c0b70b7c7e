//! `lkc-host snapshot`: what can be asked.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use super::complete;
use crate::config::ClusterName;

/// Keep a virtual machine as it is, and bring it back to that
///
/// A snapshot is disk and memory at a moment, kept inside the machine's own disk. The machine has to
/// run. While a snapshot is made or restored the machine stands still, and its link comes back by
/// itself; forwarded connections through it end.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host snapshot save before-upgrade
  lkc-host snapshot list
  lkc-host snapshot restore before-upgrade
  lkc-host snapshot delete before-upgrade --cluster k3s-capi")]
pub struct SnapshotArgs {
    #[command(subcommand)]
    pub command: SnapshotCommand,
}

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Keep the machine as it is now under a name
    Save(SnapshotName),
    /// Make the machine what it was
    Restore(SnapshotName),
    /// Show the snapshots of a cluster's machine
    List {
        /// Name of the cluster [default: the one of `lkc.toml`, else the only one, else k3s-dev]
        #[arg(long, value_name = "CLUSTER", add = ArgValueCompleter::new(complete::clusters))]
        cluster: Option<ClusterName>,
    },
    /// Forget a snapshot
    Delete(SnapshotName),
}

/// Which snapshot.
#[derive(Debug, Args)]
pub struct SnapshotName {
    /// Name of the snapshot
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Name of the cluster [default: the one of `lkc.toml`, else the only one, else k3s-dev]
    #[arg(long, value_name = "CLUSTER", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
}
