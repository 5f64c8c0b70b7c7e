//! The commands about the way to a guest and who stands at its ends.

use clap::Args;
use lkc_protocol::relay::RelayTarget;

use super::Which;
use crate::carrier::{Carrier, Hop};

/// Try each way to a cluster's agent and tell how far it gets
///
/// Every carrier of the machine is tried on its own, from this process and beside the daemon: resolve,
/// connect, preface (an agent answers), TLS (with the right keys), hello (of a version that works
/// together). Exit code 0 when one of them leads to a link, else that of the failure. A serial line
/// has one user at a time, so that it cannot be tried while the daemon uses it.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host doctor
  lkc-host doctor k3s-far --output json")]
pub struct Doctor {
    #[command(flatten)]
    pub which: Which,
}

/// Show the keys of a cluster's two ends and their fingerprints
///
/// The guest lets in the hosts whose keys its `lkc.authorized_hosts` lists; this host talks to the
/// guest with the key shown here alone. `lkc-guest identity` shows the same in the guest.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host identity
  lkc-host identity k3s-far --output json")]
pub struct Identity {
    #[command(flatten)]
    pub which: Which,
}

/// Make this host and a machine that is there already known to each other, by a token
///
/// Run `lkc-guest token` as root in the machine. It prints 32 digits that are good for one host, once,
/// within ten minutes; this command reads them from the terminal or, where it has none, from standard
/// input, and never from the command line, which other users see. Afterwards the guest lets this host
/// in, and this host knows the guest's key; no `guest-key` is needed. The carriers are those of the
/// configuration unless some are named here.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host adopt k3s-far
  lkc-host adopt k3s-far --carrier tcp:192.168.100.7:7000
  ssh root@far lkc-guest token | lkc-host adopt k3s-far")]
pub struct Adopt {
    #[command(flatten)]
    pub which: Which,

    /// Reach the machine over this carrier, as in `up`; may be repeated, the first that connects is used
    #[arg(long, value_name = "CARRIER")]
    pub carrier: Vec<Carrier>,

    /// Reach the carriers from behind this hop, as in `up`; may be repeated, from this host on
    #[arg(long, value_name = "HOP", requires = "carrier")]
    pub via: Vec<Hop>,
}

/// Join standard input and output with a socket: a hop of a carrier
///
/// What `via` runs on a hop that has lkc-host. Ends when either side does.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host relay vsock:52:5000
  lkc-host relay unix:/run/vm.sock")]
pub struct Relay {
    /// Where to: unix:PATH, tcp:HOST:PORT or vsock:CID:PORT
    #[arg(value_name = "TARGET")]
    pub target: RelayTarget,
}
