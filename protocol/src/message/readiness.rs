//! The readiness ladder of a node, as it travels.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::wire_enum::wire_enum;

wire_enum! {
    /// A condition of the ladder. The order is the order in which a node climbs.
    pub enum Rung {
        /// The link is up.
        Agent = 1 => "agent",
        /// The network is applied and verified.
        Network = 2 => "network",
        /// The k3s unit or process runs.
        K3s = 3 => "k3s",
        /// `/readyz` answers ok to the cluster's own credentials.
        Api = 4 => "api",
        /// The node object exists.
        Registered = 5 => "registered",
        /// The node's condition `Ready` is true.
        Node = 6 => "node",
        /// The workloads of kube-system are available.
        System = 7 => "system",
    }
}

wire_enum! {
    /// Where a rung stands.
    pub enum RungState {
        /// Waits for a rung below it.
        Pending = 1 => "pending",
        /// Is being worked on.
        Progressing = 2 => "progressing",
        /// Holds.
        Ready = 3 => "ready",
        /// Failed in a way that waiting does not mend.
        Failed = 4 => "failed",
        /// Cannot be told, as when the link is down. Never sent by a guest.
        Unknown = 5 => "unknown",
    }
}

/// A rung with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct RungStatus {
    /// Which one.
    pub rung: Rung,
    /// Where it stands.
    pub state: RungState,
    /// For people, one line: `192.100.0.10/24 on eth0`.
    pub detail: String,
    /// Last lines of the log that explain a failure, else empty.
    pub tail: Vec<String>,
}

/// Asks for the ladder: a full [`Snapshot`] first, then [`Change`]s.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Watch {}

/// The ladder follows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WatchAnswer {}

/// The whole ladder.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Snapshot {
    /// Number of this state; grows by at least one with every change, starts again with the agent.
    pub sequence: u64,
    /// Every rung, from the bottom.
    pub rungs: Vec<RungStatus>,
    /// What k3s is.
    pub k3s: K3sSummary,
}

/// What is different from the state before.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Change {
    /// Number of the state that this leads to.
    pub sequence: u64,
    /// The rungs that changed.
    pub rungs: Vec<RungStatus>,
    /// What k3s is, when that changed.
    pub k3s: Option<K3sSummary>,
}

/// What k3s is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
pub struct K3sSummary {
    /// Version as the program prints it, empty when unknown.
    pub version: String,
    /// Whether it is the simulator, which runs no containers.
    pub simulated: bool,
    /// Restarts that were not asked for.
    pub restarts: u32,
}
