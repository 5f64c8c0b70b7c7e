//! What the daemon hears: clients' requests, and what its tasks report.

use std::{path::PathBuf, sync::Arc};

use lkc_protocol::message::{Change, Snapshot};

use super::{BindPurpose, Ticket};
use crate::{
    carrier::Route,
    config::{ClusterName, ClusterSpec, ForwardSpec, ReverseSpec},
    control::{Failure, ProbeStatus},
    kubeconfig::ServerIdentity,
};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A cluster was found on disk when the daemon started.
    Restored {
        /// As it was brought up.
        spec: Box<ClusterSpec>,
        /// Its machine, when it still runs.
        machine: Option<MachineInfo>,
    },
    /// A client asks for something.
    Requested {
        /// Names it in [`Action::Answer`](super::Action::Answer).
        ticket: Ticket,
        /// What is asked.
        request: ClusterRequest,
    },
    /// A [`Task`](super::Task) or what it left running reports.
    Reported {
        /// Which cluster's.
        cluster: ClusterName,
        /// The run that the task belonged to.
        run: u64,
        /// What it reports.
        report: Report,
    },
}

/// What a client can ask about a cluster.
#[derive(Debug, Clone)]
pub enum ClusterRequest {
    /// Bring it up.
    Up(Box<ClusterSpec>),
    /// Stop its machine.
    Down(ClusterName),
    /// Stop and start again with the specification that it came up with.
    Restart(ClusterName),
    /// Stop it and remove all it left.
    Delete(ClusterName),
    /// Listen on one more port until it goes down.
    AddForward(ClusterName, Box<ForwardSpec>),
    /// Stop listening on a port, found by its forward's name or its number.
    RemoveForward(ClusterName, String),
}

impl ClusterRequest {
    /// What the command line calls it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Down(_) => "down",
            Self::Restart(_) => "restart",
            Self::Delete(_) => "delete",
            Self::AddForward(..) => "forward",
            Self::RemoveForward(..) => "forward --remove",
        }
    }

    /// Which cluster it is about.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        match self {
            Self::Up(spec) => &spec.name,
            Self::Down(name)
            | Self::Restart(name)
            | Self::Delete(name)
            | Self::AddForward(name, _)
            | Self::RemoveForward(name, _) => name,
        }
    }
}

/// A machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// Process id on the host of its first process.
    pub pid: Option<u32>,
    /// For people.
    pub description: String,
    /// How its agent is reached, the best first.
    pub carriers: Vec<Route>,
}

/// What a task reports.
#[derive(Debug, Clone)]
pub enum Report {
    /// The specification is on disk.
    SpecPersisted,
    /// The specification cannot be kept.
    PersistFailed(Failure),
    /// Every forward asked for listens.
    ForwardsBound {
        /// What they were for.
        purpose: BindPurpose,
        /// Which.
        forwards: Vec<ForwardSpec>,
    },
    /// One cannot listen; none of those asked for does.
    BindFailed {
        /// What they were for.
        purpose: BindPurpose,
        /// Name of the one that failed.
        forward: String,
        /// Why.
        failure: Failure,
    },
    /// The machine runs.
    MachineStarted(MachineInfo),
    /// The machine could not be started; nothing of it runs.
    MachineFailed(Failure),
    /// The machine ended without being asked to.
    MachineExited {
        /// How.
        how: String,
        /// Last lines of its console.
        tail: Vec<String>,
    },
    /// The machine is gone, as asked.
    MachineStopped,
    /// The machine could not be stopped.
    StopFailed(Failure),
    /// A link stands.
    LinkUp {
        /// Its number, from 1 in each run.
        link: u64,
        /// Build version of the guest agent.
        agent_version: String,
        /// Over which of the machine's carriers; none when it is the only one.
        carrier: Option<Box<Route>>,
    },
    /// An attempt to connect failed; the next one follows by itself.
    LinkFailed {
        /// Attempts since the last link.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// The link is gone; connecting begins again by itself.
    LinkDown {
        /// Why.
        why: String,
    },
    /// The network is as asked.
    NetworkApplied {
        /// The link that it was asked on.
        link: u64,
        /// For people.
        summary: String,
    },
    /// The network is not as asked.
    NetworkFailed {
        /// The link that it was asked on.
        link: u64,
        /// Why.
        failure: Failure,
    },
    /// k3s is configured and started.
    K3sConfigured {
        /// The link that it was asked on.
        link: u64,
    },
    /// k3s could not be configured or started.
    K3sFailed {
        /// The link that it was asked on.
        link: u64,
        /// Why.
        failure: Failure,
    },
    /// The guest listens for a reverse forward, or does not.
    ReverseForward {
        /// The link that it was asked on.
        link: u64,
        /// Which.
        spec: ReverseSpec,
        /// Why it does not, the layer first.
        error: Option<String>,
    },
    /// The guest's whole ladder.
    Snapshot {
        /// The link that it came on.
        link: u64,
        /// The ladder.
        snapshot: Snapshot,
    },
    /// What changed in the guest's ladder.
    Change {
        /// The link that it came on.
        link: u64,
        /// The change.
        change: Change,
    },
    /// The kubeconfig is on disk.
    KubeconfigWritten {
        /// Where.
        path: PathBuf,
        /// What the cluster's API is recognised by, as the kubeconfig has it.
        identity: Arc<ServerIdentity>,
    },
    /// The kubeconfig could not be built or written.
    KubeconfigFailed(String),
    /// The forward of the API was probed.
    Probed {
        /// Which of the probings that began.
        number: u64,
        /// What was found.
        probed: Probed,
    },
    /// Everything that the cluster left is removed.
    FilesRemoved,
    /// Something of it could not be removed.
    RemoveFailed(Failure),
}

/// What a probe of the API's forward found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// For everybody.
    pub status: ProbeStatus,
    /// Why it is not well, when it is not.
    pub failure: Option<Failure>,
}
