//! Everything that can move the ladder, as one closed list.

use std::time::SystemTime;

use bincode::{Decode, Encode};

use super::LadderConfig;

/// Something that was seen, or that was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// The node's role and name are these.
    Configured(LadderConfig),
    /// Of the network.
    Network(NetworkState),
    /// Of the k3s process or unit.
    K3s(K3sState),
    /// When the k3s that is told of next was started, by somebody who sees its process.
    Started(Option<SystemTime>),
    /// Of `/readyz`.
    Api(ApiState),
    /// Of this node's object.
    Node(NodeState),
    /// Of the workloads in kube-system.
    System(SystemState),
}

/// The network of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum NetworkState {
    /// A change is being applied.
    Applying,
    /// Applied and read back from the kernel.
    Applied {
        /// `192.100.0.10/24 on eth0`.
        summary: String,
    },
    /// No host has come; leases are asked for meanwhile.
    Fallback {
        /// For people.
        detail: String,
    },
    /// Not applied; what was there before is in force.
    Failed {
        /// Why.
        error: String,
    },
}

/// The k3s process or unit.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum K3sState {
    /// Nobody asked for it to run, or it was stopped on request.
    Absent {
        /// Which, and what it waits for.
        detail: String,
    },
    /// Is being started.
    Starting,
    /// Runs.
    Running {
        /// Process id in the guest.
        pid: u32,
        /// First line of `--version`, or its version word.
        version: String,
        /// Whether it is the simulator.
        simulated: bool,
        /// Restarts so far that were not asked for.
        restarts: u32,
    },
    /// Ended without being asked to; it will be started again.
    Exited {
        /// `exit status: 1`.
        status: String,
        /// Restarts so far that were not asked for.
        restarts: u32,
        /// Last lines of its log.
        tail: Vec<String>,
    },
    /// Ends again and again.
    CrashLoop {
        /// `exit status: 1`.
        status: String,
        /// Restarts so far that were not asked for.
        restarts: u32,
        /// Last lines of its log.
        tail: Vec<String>,
    },
    /// Cannot be run at all, as when the program is not there, or is started no more.
    Failed {
        /// Why.
        error: String,
        /// Last lines of its log, if it has run.
        tail: Vec<String>,
    },
}

/// The API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiState {
    /// No answer, or none that was believed.
    Unreachable {
        /// Why.
        why: String,
    },
    /// Answers that it is not ready.
    NotReady {
        /// Names of the checks that failed.
        failed: Vec<String>,
    },
    /// `/readyz` says ok.
    Ready,
}

/// This node's object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Does not exist.
    Absent,
    /// Exists; its condition `Ready` is not `True`.
    NotReady {
        /// The condition's reason, `KubeletNotReady`.
        reason: String,
        /// The condition's message.
        message: String,
    },
    /// Its condition `Ready` is `True`.
    Ready,
}

/// Deployments and daemon sets of kube-system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemState {
    /// How many are available.
    pub available: usize,
    /// How many there are.
    pub total: usize,
    /// Names of those that are not available.
    pub waiting: Vec<String>,
}
