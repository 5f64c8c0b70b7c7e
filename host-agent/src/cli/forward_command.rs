//! `forward` and what can be done about forwards.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;

use super::{ForwardArg, Which, complete};
use crate::config::ClusterName;

/// List, add and remove forwards of a running cluster
///
/// A forward is a port of this host that leads to one in the guest. Forwards that are added here
/// last until the cluster goes down; put them into `lkc.toml` to keep them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Forwards:
  5432                    port 5432 to port 5432 of the guest
  15432:5432              port 15432 to port 5432 of the guest
  15432:10.43.0.20:5432   port 15432 to a service or pod
  db=15432:5432           the same as 15432:5432, called db
  5353:10.43.0.10:53/udp  datagrams, here to the cluster's name server
  unix:db.sock:5432       a unix socket in place of a port, which only you can connect to
  1080/socks              SOCKS5: a program that uses it reaches any pod and service

With `--output json` the list is one array: of each forward name, protocol, listen, target, state
(closed, listening or failed), open, parked, total, refused, failed, dropped, sent_bytes,
received_bytes and last_error, whose first word is the layer: host, carrier, agent or target.

Examples:
  lkc-host forward ls
  lkc-host forward add 5432
  lkc-host forward k3s-capi 15432:5432 8000:80     # `add` and `ls` may be left out
  lkc-host forward check
  lkc-host forward rm 5432")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Forward {
    #[command(subcommand)]
    pub command: Option<ForwardCommand>,
    /// Name of the cluster, then forwards to add; none to list them
    #[arg(value_name = "CLUSTER|SPEC", num_args = 0.., conflicts_with = "remove", add = ArgValueCompleter::new(complete::clusters))]
    pub items: Vec<ClusterOrForward>,
    /// Remove a forward by its name or its port on this host; may be repeated
    #[arg(long, value_name = "NAME|PORT")]
    pub remove: Vec<String>,
    /// Name of the cluster, as an option
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
    /// Listen on this address instead of 127.0.0.1 and ::1
    #[arg(long, value_name = "ADDRESS", conflicts_with = "remove")]
    pub bind: Option<IpAddr>,
}

/// What to do about forwards.
#[derive(Debug, Subcommand)]
pub enum ForwardCommand {
    /// List forwards with what passed through them
    Ls(ForwardLs),
    /// Add forwards until the cluster goes down
    Add(ForwardAdd),
    /// Remove forwards
    Rm(ForwardRm),
    Check(ForwardCheck),
}

#[derive(Debug, Args)]
pub struct ForwardLs {
    #[command(flatten)]
    pub which: Which,
}

#[derive(Debug, Args)]
pub struct ForwardAdd {
    /// Name of the cluster, then forwards
    #[arg(value_name = "CLUSTER|SPEC", required = true, add = ArgValueCompleter::new(complete::clusters))]
    pub items: Vec<ClusterOrForward>,
    /// Name of the cluster, as an option
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
    /// Listen on this address instead of 127.0.0.1 and ::1
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<IpAddr>,
}

#[derive(Debug, Args)]
pub struct ForwardRm {
    /// Names, ports on this host (53/udp), or sockets (unix:PATH)
    #[arg(value_name = "NAME|PORT", required = true)]
    pub forwards: Vec<String>,
    /// Name of the cluster [default: the one of `lkc.toml`, else the only one, else k3s-dev]
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
}

/// Connect through the listeners and see whether the targets accept
///
/// Where one does not, the layer that failed is named: host, carrier, agent or target. Nothing is
/// said to a target of TCP; one of UDP gets an empty datagram, and SOCKS is asked for the API
/// server. Exit code 4 when a target is not reached.
///
/// With `--output json` an array with an object per listener: name, protocol, listen, target, ok,
/// layer, detail and latency_ms.
#[derive(Debug, Args)]
pub struct ForwardCheck {
    /// Names, ports or sockets of the forwards [default: all]
    #[arg(value_name = "NAME|PORT")]
    pub forwards: Vec<String>,
    /// Name of the cluster [default: the one of `lkc.toml`, else the only one, else k3s-dev]
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
}

/// A positional argument of `forward`: a forward has a digit or `unix:` in front or a `=` in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterOrForward {
    /// A cluster's name.
    Cluster(ClusterName),
    /// A forward.
    Forward(ForwardArg),
}

impl std::str::FromStr for ClusterOrForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if ForwardArg::is_meant(text) {
            text.parse().map(Self::Forward)
        } else {
            text.parse().map(Self::Cluster)
        }
    }
}
