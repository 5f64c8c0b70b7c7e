//! How a cluster stands: what `status --output json` prints, one object per cluster.

use std::path::PathBuf;

use lkc_protocol::message::{Cni, DiskUsage, K3sSummary, Rung, RungState, UsageAnswer};
use serde::{Deserialize, Serialize};

use crate::{
    carrier::Route,
    config::{ClusterName, Driver, ForwardProtocol},
};

/// How a cluster stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// Its name.
    pub name: ClusterName,
    /// Its index.
    pub index: u8,
    /// What the daemon is doing with it.
    pub phase: Phase,
    /// Who provides the pod network.
    pub cni: Cni,
    /// Its machine.
    pub machine: MachineStatus,
    /// The link to its node.
    pub link: LinkStatus,
    /// Version of the guest agent, once linked.
    pub agent_version: Option<String>,
    /// What the node says of itself; only where one cluster is asked for, and its link is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeStatus>,
    /// What k3s is, once known.
    pub k3s: Option<K3sSummary>,
    /// The machine (named after its driver), then every rung from the bottom.
    pub steps: Vec<StepStatus>,
    /// Its forwards.
    pub forwards: Vec<ForwardStatus>,
    /// Its reverse forwards.
    #[serde(default)]
    pub reverse: Vec<ReverseStatus>,
    /// Its kubeconfig, once written.
    pub kubeconfig: Option<PathBuf>,
    /// Why the kubeconfig could not be written, when that is so.
    pub kubeconfig_error: Option<String>,
}

impl ClusterStatus {
    /// The step of a rung.
    #[must_use]
    pub fn rung(&self, rung: Rung) -> Option<&StepStatus> {
        self.steps.iter().find(|step| step.rung == Some(rung))
    }
}

/// File systems of a node that are shown.
const MOST_DISKS: usize = 8;

/// What a node says of itself. Text of the guest: sanitise before printing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its host name.
    pub hostname: String,
    /// Its operating system, for people.
    pub os: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Milliseconds since it booted, suspension included.
    pub uptime_ms: u64,
    /// Milliseconds that its clock is ahead of this host's, negative if it is behind.
    pub clock_skew_ms: i64,
    /// What became of its clock when the link came up; none when it was right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockStatus>,
    /// What of it is in use, where its agent tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,
}

/// A clock that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// Milliseconds that it was ahead of this host's, negative if it was behind.
    pub off_ms: i64,
    /// Why it was not set; none when it was.
    pub why_not: Option<String>,
}

/// What of a node is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageStatus {
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Memory that a program could still get, in KiB.
    pub memory_available_kib: u64,
    /// Processors.
    pub processors: u32,
    /// Runnable programs on average over 1, 5 and 15 minutes, in hundredths.
    pub load_percent: Vec<u32>,
    /// File systems of the system and of k3s.
    pub disks: Vec<DiskStatus>,
}

/// A file system of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Where it is looked at.
    pub path: String,
    /// Its size in KiB.
    pub size_kib: u64,
    /// What can still be used of it, in KiB.
    pub available_kib: u64,
}

impl From<UsageAnswer> for UsageStatus {
    fn from(told: UsageAnswer) -> Self {
        let disk = |disk: DiskUsage| DiskStatus {
            path: disk.path,
            size_kib: disk.size_kib,
            available_kib: disk.available_kib,
        };
        Self {
            memory_kib: told.memory_kib,
            memory_available_kib: told.memory_available_kib,
            processors: told.processors,
            load_percent: told.load_percent,
            disks: told.disks.into_iter().take(MOST_DISKS).map(disk).collect(),
        }
    }
}

/// What the daemon is doing with a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing: it is down.
    Down,
    /// Bringing it up: machine, link, network, k3s.
    Starting,
    /// Keeping it up. The ladder says how far it is.
    Up,
    /// Taking it down.
    Stopping,
    /// Its machine could not be started or died; `up` tries again.
    Failed,
}

/// A cluster's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// What it is made by.
    pub driver: Driver,
    /// Whether it runs.
    pub running: bool,
    /// Process id of its first process on the host, where there is one.
    pub pid: Option<u32>,
    /// For people: `sandbox (user namespace), pid 4242`.
    pub description: String,
}

/// The link to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Where it stands.
    pub state: LinkState,
    /// The carrier, as in the configuration: `unix:/run/…/agent.sock`.
    pub carrier: Option<String>,
    /// Every carrier of the machine, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carriers: Vec<Route>,
    /// Why it is not up, else empty.
    pub detail: String,
    /// Connections made since the cluster came up.
    pub connects: u64,
    /// Requests of the guest that were refused because nobody here had asked for what they bring,
    /// since the daemon began to look after the cluster.
    #[serde(default)]
    pub denied: u64,
}

/// Where a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// There is nothing to connect to.
    Down,
    /// Being connected.
    Connecting,
    /// Authenticated and in use.
    Up,
}

/// A step of `up`: the machine or a rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Driver's or rung's name.
    pub name: String,
    /// The rung, none for the machine.
    pub rung: Option<Rung>,
    /// Where it stands.
    pub state: RungState,
    /// For people, one line. From the guest: sanitise before printing.
    pub detail: String,
    /// Log lines that explain a failure. From the guest: sanitise before printing.
    pub tail: Vec<String>,
    /// Milliseconds from the start of `up` until it became ready, once it is.
    pub ready_after_ms: Option<u64>,
}

/// A forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardStatus {
    /// Its name.
    pub name: String,
    /// Where it listens: `127.0.0.1:6443`.
    pub listen: Vec<String>,
    /// Where it leads in the guest: `127.0.0.1:6443`.
    pub target: String,
    /// What passes through it.
    pub protocol: ForwardProtocol,
    /// Whether it listens.
    pub state: ForwardState,
    /// Connections open now; of UDP, clients whose datagrams have a way now.
    pub open: u64,
    /// Connections accepted since the listener was bound; of UDP, clients that were given a way.
    pub total: u64,
    /// Connections that the target refused; of UDP, datagrams.
    pub refused: u64,
    /// Connections parked now, waiting for the link.
    pub parked: u64,
    /// Connections that failed otherwise.
    pub failed: u64,
    /// Datagrams dropped on this host, in either direction; 0 of anything but UDP.
    pub dropped: u64,
    /// Bytes from the clients.
    pub sent_bytes: u64,
    /// Bytes to the clients.
    pub received_bytes: u64,
    /// The last failure with its layer: `target: connection refused`.
    pub last_error: Option<String>,
    /// What the last probe of it found; only the cluster's API is probed.
    pub probe: Option<ProbeStatus>,
}

/// A reverse forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReverseStatus {
    /// Its name.
    pub name: String,
    /// Where the guest listens: `192.100.0.10:5000`.
    pub listen: String,
    /// Where it leads on this host: `127.0.0.1:5000`, `unix:/run/registry.sock`.
    pub target: String,
    /// Whether the guest listens.
    pub state: ForwardState,
    /// Connections open now.
    pub open: u64,
    /// Connections that arrived since it was first asked for.
    pub total: u64,
    /// Connections that the target refused.
    pub refused: u64,
    /// Connections that failed otherwise.
    pub failed: u64,
    /// Bytes from the clients in the guest.
    pub sent_bytes: u64,
    /// Bytes to the clients.
    pub received_bytes: u64,
    /// Why the guest does not listen, else the last failure, with its layer.
    pub last_error: Option<String>,
}

impl ReverseStatus {
    /// The same where no link stands.
    #[must_use]
    pub fn closed(self) -> Self {
        Self {
            state: ForwardState::Closed,
            last_error: None,
            ..self
        }
    }
}

/// What a probe found: a connection through the forward's own listener that checks whether this
/// cluster's certificate authority answers at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Whether it does.
    pub ok: bool,
    /// What was found; where it failed, the layer first: `target: connection refused`.
    pub detail: String,
    /// Milliseconds from the connect to the end of the TLS handshake, where there was one.
    pub latency_ms: Option<u64>,
    /// Milliseconds since 1970 when it ended.
    pub checked_unix_ms: u64,
}

/// What trying a forward found at one of its listeners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardCheck {
    /// The forward's name.
    pub name: String,
    /// What passes through it.
    pub protocol: ForwardProtocol,
    /// The listener: `127.0.0.1:5432`, `unix:/run/pg.sock`.
    pub listen: String,
    /// Where it leads in the guest.
    pub target: String,
    /// Whether it does.
    pub ok: bool,
    /// The layer that failed: host, carrier, agent or target.
    pub layer: Option<String>,
    /// What was found.
    pub detail: String,
    /// Milliseconds from the connect until the target had accepted.
    pub latency_ms: Option<u64>,
}

/// Whether a forward listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardState {
    /// Not bound.
    Closed,
    /// Bound; connections wait for the link or pass.
    Listening,
    /// Could not be bound.
    Failed,
}
