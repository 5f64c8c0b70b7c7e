//! What the daemon does about it: shows, answers, and tasks with an effect outside.

use std::sync::Arc;

use super::{Ticket, View};
use crate::{
    carrier::Route,
    config::{ClusterName, ClusterSpec, ForwardSpec},
    control::Failure,
    kubeconfig::ServerIdentity,
};

/// What to do. The order of a list is the order to do it in.
#[derive(Debug, Clone)]
pub enum Action {
    /// Show a cluster so; comes before any answer that depends on it.
    Publish(Arc<View>),
    /// Show a cluster no longer.
    Withdraw(ClusterName),
    /// Answer a request.
    Answer {
        /// Which.
        ticket: Ticket,
        /// What began, or why nothing did.
        answer: Result<Begun, Failure>,
    },
    /// Begin a task, or end one.
    Perform {
        /// For which cluster.
        cluster: ClusterName,
        /// In which run; travels back with the reports.
        run: u64,
        /// What.
        task: Task,
    },
}

/// What a request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The run that it concerns.
    pub run: u64,
    /// Whether anything was or is being changed for it.
    pub changed: bool,
}

/// Something with an effect outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Keep the specification on disk.
    PersistSpec(Arc<ClusterSpec>),
    /// Listen, all or none; what listens already goes on.
    BindForwards {
        /// Comes back with the report.
        purpose: BindPurpose,
        /// Where.
        forwards: Vec<ForwardSpec>,
        /// The cluster's index, from which its ports follow.
        index: u8,
    },
    /// Stop listening and end the connections.
    UnbindForwards(Vec<ForwardSpec>),
    /// Start the machine, or adopt the one that runs.
    StartMachine(Arc<ClusterSpec>),
    /// Watch a machine that was found running.
    AdoptMachine,
    /// Stop the machine.
    StopMachine(Arc<ClusterSpec>),
    /// Connect and keep connected.
    Connect {
        /// How the agent is reached, the best first.
        carriers: Vec<Route>,
        /// Whose link: says whether it may go on unencrypted.
        spec: Arc<ClusterSpec>,
    },
    /// Try to connect now and not when the backoff is over.
    ConnectNow,
    /// End the link and stop connecting.
    Disconnect,
    /// Ask the guest for its network.
    ApplyNetwork {
        /// On which link.
        link: u64,
        /// The network in it.
        spec: Arc<ClusterSpec>,
    },
    /// Ask the guest for its k3s.
    ConfigureK3s {
        /// On which link.
        link: u64,
        /// The settings in it.
        spec: Arc<ClusterSpec>,
    },
    /// Have the guest listen for these reverse forwards and no others. What it listens for already
    /// goes on; what failed on this link is asked for again.
    ListenInGuest {
        /// On which link.
        link: u64,
        /// The reverse forwards in it.
        spec: Arc<ClusterSpec>,
    },
    /// Follow the guest's ladder.
    Watch {
        /// On which link.
        link: u64,
    },
    /// Follow the cluster's credentials and keep the kubeconfig.
    FollowKubeconfig {
        /// On which link.
        link: u64,
        /// Names and port of the kubeconfig.
        spec: Arc<ClusterSpec>,
    },
    /// Probe the forward of the API, now and then again and again, and no longer as before.
    ProbeApi {
        /// Comes back with the reports.
        number: u64,
        /// The forward, which listens.
        forward: ForwardSpec,
        /// What has to answer.
        identity: Arc<ServerIdentity>,
    },
    /// Probe now and not when the next probe is due.
    ProbeNow,
    /// Stop probing.
    StopProbing,
    /// Remove all that the cluster left.
    RemoveFiles(Arc<ClusterSpec>),
}

/// What forwards are bound for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindPurpose {
    /// The cluster comes up; without them it does not.
    Up,
    /// A cluster that ran before the daemon did; it goes on without those that fail.
    Restore,
    /// One more, for a client.
    Add(Ticket, Box<ForwardSpec>),
    /// Those that a changed specification adds, for a client.
    Change(Ticket, Arc<ClusterSpec>),
}
