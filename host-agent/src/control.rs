//! What the command line and the daemon say to each other: JSON lines over a unix socket.
//!
//! A client sends one [`Call`] and reads [`Reply`]s until the last one, [`Reply::Done`] or
//! [`Reply::Failed`]. Closing the connection ends the waiting, never the work.

pub mod client;
pub mod goal;
pub mod server;
pub mod status;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use goal::{Goal, ObjectGoal};
pub use status::{
    ClockStatus, ClusterStatus, DiskStatus, ForwardCheck, ForwardState, ForwardStatus, LinkState,
    LinkStatus, MachineStatus, NodeStatus, Phase, ProbeStatus, ReverseStatus, StepStatus,
    UsageStatus,
};

use crate::{
    config::{ClusterName, ClusterSpec, ForwardSpec},
    error::Kind,
    machine::{Snapshot, SnapshotOrder},
};
use lkc_protocol::message::LogSource;

/// Longest line either end accepts, in bytes. A status with a thousand forwards is under it.
pub const MAX_LINE: usize = 1024 * 1024;

/// The only line a client sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// Build version of the client; another one than the daemon's asks it to hand over.
    pub version: String,
    /// The socket of the client's SSH agent, which is the one to ask from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_agent: Option<PathBuf>,
    /// What is asked.
    pub request: Request,
}

/// What a client can ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// Bring a cluster up, or join the one that is coming up, and follow it to the goal.
    Up {
        /// The cluster, fully decided.
        spec: Box<ClusterSpec>,
        /// Where to stop waiting; none returns as soon as the daemon has begun.
        goal: Option<Goal>,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Stop a cluster's machine; its data stays.
    Down {
        /// Which.
        cluster: ClusterName,
    },
    /// Stop and start again with the specification that it came up with.
    Restart {
        /// Which.
        cluster: ClusterName,
        /// Where to stop waiting.
        goal: Option<Goal>,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Stop a cluster and remove everything that it left: machine, data, kubeconfig.
    Delete {
        /// Which.
        cluster: ClusterName,
    },
    /// Say how one cluster stands, or every one.
    Status {
        /// Which; none for every one.
        cluster: Option<ClusterName>,
        /// Go on with an update per change.
        follow: bool,
        /// Whether the node is asked too, which takes up to a second.
        node: bool,
    },
    /// Wait for all goals.
    Wait {
        /// Which cluster.
        cluster: ClusterName,
        /// What for.
        goals: Vec<Goal>,
        /// Milliseconds to wait at most.
        timeout_ms: u64,
    },
    /// Add a forward to a running cluster, until it goes down.
    AddForward {
        /// Which cluster.
        cluster: ClusterName,
        /// The forward.
        forward: ForwardSpec,
    },
    /// Try forwards: connect through their listeners and see whether their targets accept.
    CheckForwards {
        /// Which cluster.
        cluster: ClusterName,
        /// Names, ports or places, as for removing; none for every one that listens.
        forwards: Vec<String>,
    },
    /// Remove a forward by its name or its host port.
    RemoveForward {
        /// Which cluster.
        cluster: ClusterName,
        /// Name, or port in decimal.
        forward: String,
    },
    /// Save, restore, list or delete snapshots of a machine.
    Snapshot {
        /// Which cluster.
        cluster: ClusterName,
        /// What to do.
        order: SnapshotOrder,
    },
    /// Log lines of the guest.
    Logs {
        /// Which cluster.
        cluster: ClusterName,
        /// Whose log.
        source: LogSource,
        /// Lines of the past to begin with.
        tail: u32,
        /// Whether to go on with new lines.
        follow: bool,
    },
    /// Run a program in the guest. After [`Reply::Joined`] the connection carries its pieces
    /// ([`lkc_protocol::exec`]) and no lines any more.
    Exec {
        /// Which cluster.
        cluster: ClusterName,
        /// What to run.
        program: Program,
    },
    /// Say which keys of SSH would be taken somewhere and are under a passphrase.
    LockedKeys,
    /// Open such a key; it stays open until the daemon ends.
    Unlock {
        /// Its file.
        file: PathBuf,
        /// What opens it.
        passphrase: Passphrase,
    },
    /// Say who the daemon is.
    Daemon,
    /// End the daemon; machines go on running.
    StopDaemon,
}

/// A line of the daemon's answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Reply {
    /// How a cluster stands now. For `up` and `wait` one per change.
    Status {
        /// The cluster.
        cluster: Box<ClusterStatus>,
    },
    /// How a goal that is not a rung stands now, once per change.
    Goal {
        /// The goal as the user wrote it.
        goal: String,
        /// Whether it holds.
        satisfied: bool,
        /// For people.
        detail: String,
    },
    /// What trying a forward has found, once per listener.
    Checked(ForwardCheck),
    /// The snapshots of a machine, as they are now.
    Snapshots {
        /// The oldest first.
        snapshots: Vec<Snapshot>,
    },
    /// A log line.
    Log {
        /// Its text, as the guest sent it: sanitise before printing.
        text: String,
    },
    /// What whoever reads the lines of a log has to know, in one line.
    Note {
        /// For people.
        text: String,
    },
    /// The last line: from here on the connection is a program's.
    Joined,
    /// Keys of SSH that are under a passphrase.
    LockedKeys {
        /// Their files.
        files: Vec<PathBuf>,
    },
    /// Who the daemon is.
    Daemon(DaemonInfo),
    /// The end: it is done.
    Done(Done),
    /// The end: it failed.
    Failed(Failure),
}

/// A passphrase, which no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passphrase(String);

impl Passphrase {
    /// Its text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Passphrase {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(…)")
    }
}

/// A program to run in a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name and arguments; none for a login shell.
    pub arguments: Vec<String>,
    /// Variables as `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Where it runs, absolute; none for the home of its user.
    pub directory: Option<String>,
    /// Columns and rows of its terminal; none for pipes.
    pub terminal: Option<[u16; 2]>,
}

/// Who the daemon is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DaemonInfo {
    /// Build version.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Clusters that it looks after.
    pub clusters: u32,
}

/// How a request ended well.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Done {
    /// Whether anything was changed; `false` for an `up` of what was up.
    pub changed: bool,
    /// Milliseconds from the request to its end.
    pub elapsed_ms: u64,
}

/// How a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Class, which decides the exit code.
    pub kind: Kind,
    /// What failed and why, one line.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
    /// Log lines that explain it. From the guest: sanitise before printing.
    pub tail: Vec<String>,
}
