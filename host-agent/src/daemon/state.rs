//! What the daemon knows and decides, as a pure function: [`Daemon::handle`] takes an [`Event`] and
//! the time and gives [`Action`]s. Nothing here waits, reads a clock, opens a file or a socket.
//!
//! ```text
//!        up                bound            started          k3s configured
//! Down ──────► Starting: persist → bind → machine → link → network → k3s ──────► Up
//!   ▲              │ failed: no machine runs                                      │
//!   │              ▼                                                              │
//!   │           Failed ◄───────────────── the machine ended by itself ────────────┤
//!   │              │ up: from the start                                           │
//!   └── Stopping ◄─┴──────────────────────── down, restart, delete ◄──────────────┘
//! ```
//!
//! A *run* is one life of a machine as the daemon sees it, a *link number* one connection in it.
//! Both travel with what is begun and come back with its result, so that a late result of something
//! that is over changes nothing. A link that is lost leaves no rung standing: all are unknown until
//! the guest has told its whole ladder again.

mod change;
mod cluster;
mod ladder;
mod probes;
#[cfg(test)]
mod property;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use lkc_protocol::message::{Change, Snapshot};

use crate::{
    carrier::Carrier,
    config::{ClusterName, ClusterSpec, ForwardSpec, check_against},
    control::{ClusterStatus, Failure, ProbeStatus},
    error::{CommandError, Kind},
    kubeconfig::ServerIdentity,
};
use cluster::Cluster;

/// Names a request, so that its answer finds it.
pub type Ticket = u64;

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
        /// Names it in [`Action::Answer`].
        ticket: Ticket,
        /// What is asked.
        request: ClusterRequest,
    },
    /// A [`Task`] or what it left running reports.
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

/// A machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// Process id on the host of its first process.
    pub pid: Option<u32>,
    /// For people.
    pub description: String,
    /// How its agent is reached.
    pub carrier: Carrier,
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
        /// How the agent is reached.
        carrier: Carrier,
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

/// How a cluster stands, with what only the daemon's own parts need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// For everybody. The counters of its forwards are zero here: they are added when it is shown.
    pub status: ClusterStatus,
    /// The run that it is in.
    pub run: u64,
    /// Whether it is up, coming up, or going to be once it has stopped.
    pub wanted: bool,
    /// What keeps it from going on without somebody's help.
    pub failure: Option<Failure>,
    /// Whether its API answers on this host.
    pub api: ApiCheck,
}

/// Whether the API that answers on this host is this cluster's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiCheck {
    /// There is nothing to probe: no forward of the API listens, or there are no credentials.
    None,
    /// No probe has succeeded yet; with what the last one found.
    Awaited(Option<String>),
    /// It is. A probe that failed since, for whatever may pass, does not change that.
    Verified,
    /// Something else answers, again and again.
    Failed(Failure),
}

/// Every cluster of this user.
#[derive(Debug, Default)]
pub struct Daemon {
    clusters: BTreeMap<ClusterName, Cluster>,
    published: BTreeMap<ClusterName, Arc<View>>,
}

impl Daemon {
    /// Folds an event.
    #[must_use]
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut steps = Steps::default();
        let name = match event {
            Event::Restored { spec, machine } => {
                let name = spec.name.clone();
                let cluster = Cluster::restored(*spec, machine, now, &mut steps);
                self.clusters.insert(name.clone(), cluster);
                name
            }
            Event::Requested { ticket, request } => self.request(ticket, request, now, &mut steps),
            Event::Reported {
                cluster,
                run,
                report,
            } => {
                if let Some(known) = self.clusters.get_mut(&cluster) {
                    known.handle_report(run, report, now, &mut steps);
                }
                cluster
            }
        };
        self.finish(&name, now, steps)
    }

    /// How every cluster stands.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.published.values()
    }

    /// How one cluster stands.
    #[must_use]
    pub fn view(&self, cluster: &ClusterName) -> Option<&Arc<View>> {
        self.published.get(cluster)
    }

    /// Whether there is nothing to look after: no cluster runs or is about to.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.clusters.values().all(Cluster::is_at_rest)
    }

    fn request(
        &mut self,
        ticket: Ticket,
        request: ClusterRequest,
        now: Instant,
        steps: &mut Steps,
    ) -> ClusterName {
        let name = request.cluster().clone();
        if let Err(failure) = self.check_collisions(&request) {
            steps.answer(ticket, Err(failure));
            return name;
        }
        match (self.clusters.get_mut(&name), request) {
            (Some(cluster), request) => cluster.handle_request(ticket, request, now, steps),
            (None, ClusterRequest::Up(spec)) => {
                let cluster = Cluster::created(ticket, *spec, now, steps);
                self.clusters.insert(name.clone(), cluster);
            }
            (None, _) => steps.answer(ticket, Err(unknown_cluster(&name))),
        }
        name
    }

    /// Two clusters that are up cannot share an index, an address, a MAC address or a port.
    fn check_collisions(&self, request: &ClusterRequest) -> Result<(), Failure> {
        let others: Vec<_> = self
            .clusters
            .iter()
            .filter(|(name, cluster)| *name != request.cluster() && cluster.occupies())
            .map(|(_, cluster)| cluster)
            .collect();
        let wanted = match request {
            ClusterRequest::Up(spec) => {
                let specs: Vec<_> = others.iter().map(|other| other.spec().clone()).collect();
                check_against(spec, &specs).map_err(CommandError::from)?;
                spec.forwards.as_slice()
            }
            ClusterRequest::AddForward(_, forward) => std::slice::from_ref(&**forward),
            _ => return Ok(()),
        };
        let collision = |other: &&Cluster| port_collision(wanted, other);
        others.iter().find_map(collision).map_or(Ok(()), Err)
    }

    /// Turns the steps of `name`'s cluster into actions, what is shown of it first.
    fn finish(&mut self, name: &ClusterName, now: Instant, steps: Steps) -> Vec<Action> {
        let mut actions = Vec::with_capacity(steps.list.len() + 1);
        if self.clusters.get(name).is_some_and(Cluster::is_removed) {
            self.clusters.remove(name);
        }
        match self.clusters.get_mut(name) {
            Some(cluster) => {
                let view = cluster.view(now);
                if self.published.get(name).is_none_or(|old| **old != view) {
                    let view = Arc::new(view);
                    self.published.insert(name.clone(), Arc::clone(&view));
                    actions.push(Action::Publish(view));
                }
            }
            None => {
                if self.published.remove(name).is_some() {
                    actions.push(Action::Withdraw(name.clone()));
                }
            }
        }
        actions.extend(steps.list.into_iter().map(|step| match step {
            Step::Answer(ticket, answer) => Action::Answer { ticket, answer },
            Step::Perform(run, task) => Action::Perform {
                cluster: name.clone(),
                run,
                task,
            },
        }));
        actions
    }
}

fn port_collision(wanted: &[ForwardSpec], other: &Cluster) -> Option<Failure> {
    let name = &other.spec().name;
    wanted.iter().find_map(|forward| {
        other
            .forwards()
            .find_map(|known| change::forward_collision(forward, name, known))
    })
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

/// The failure of whoever names a cluster that is not there.
#[must_use]
pub fn unknown_cluster(name: &ClusterName) -> Failure {
    Failure {
        kind: Kind::NotFound,
        message: format!("there is no cluster {name}"),
        hints: vec!["`lkc-host status` lists the clusters, `lkc-host up` makes one".to_owned()],
        tail: Vec::new(),
    }
}

/// What a cluster decides in one event, in order.
#[derive(Debug, Default)]
struct Steps {
    list: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Answer(Ticket, Result<Begun, Failure>),
    Perform(u64, Task),
}

impl Steps {
    fn answer(&mut self, ticket: Ticket, answer: Result<Begun, Failure>) {
        self.list.push(Step::Answer(ticket, answer));
    }

    fn perform(&mut self, run: u64, task: Task) {
        self.list.push(Step::Perform(run, task));
    }
}
