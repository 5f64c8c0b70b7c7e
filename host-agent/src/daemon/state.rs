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

mod action;
mod change;
mod cluster;
mod event;
mod ladder;
mod probes;
#[cfg(test)]
mod property;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::{
    config::{ClusterName, ForwardSpec, check_against},
    control::{ClusterStatus, Failure},
    error::{CommandError, Kind},
};
pub use action::{Action, Begun, BindPurpose, Task};
use cluster::Cluster;
pub use event::{ClusterRequest, Event, MachineInfo, Probed, Report};

/// Names a request, so that its answer finds it.
pub type Ticket = u64;

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
