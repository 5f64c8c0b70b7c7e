//! What the daemon holds of one cluster: listeners, machine, link, and the tasks at work on them.

mod bind_failure;

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::AtomicU64},
};

use futures::FutureExt;
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{
    forwarder::{self, BindError, Forwarder},
    guest_link::{ActiveLink, Credentials, GuestLink, LinkSlot},
    guest_network::{GuestNetwork, Trial},
    guest_tasks,
    handle::{Board, Posted, PostedForward},
    kubeconfig_task,
    machine_tasks::{self, Place},
    probe::Prober,
    reporter::Reporter,
    reverse::{self, Reverse},
    state::{BindPurpose, Report},
    threads::ClusterThreads,
};
use crate::{
    carrier::Route,
    config::{ClusterName, ClusterSpec, ForwardSpec, LARGEST_INDEX},
    control::Failure,
    error::Kind,
    kubeconfig::ServerIdentity,
    paths::Paths,
};
use bind_failure::bind_failure;

pub(super) struct Hands {
    cluster: ClusterName,
    board: Arc<Board>,
    tasks: TaskTracker,
    /// Cancelled when every task of the cluster has to end.
    token: CancellationToken,
    /// What the guest's descriptors are met on; there once something is to be connected.
    threads: Option<ClusterThreads>,
    slot: Arc<watch::Sender<Option<ActiveLink>>>,
    forwards: Vec<Forwarder>,
    pub(super) machine: Place,
    link: Option<LinkTask>,
    trial: Trial,
    reverse: Vec<GuestListener>,
    denied: Arc<AtomicU64>,
    kubeconfig: Option<CancellationToken>,
    ladder: Option<CancellationToken>,
    probing: Option<Probing>,
}

/// A reverse forward and its listener in the guest.
struct GuestListener {
    reverse: Arc<Reverse>,
    /// The link that it was asked for on last.
    link: u64,
    /// Cancelled when it is over on that link.
    token: CancellationToken,
}

struct Probing {
    token: CancellationToken,
    now: Arc<Notify>,
}

struct LinkTask {
    token: CancellationToken,
    now: Arc<Notify>,
}

impl Hands {
    pub(super) fn new(
        cluster: ClusterName,
        board: Arc<Board>,
        tasks: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        let hands = Self {
            cluster,
            board,
            tasks,
            token,
            threads: None,
            slot: Arc::new(watch::channel(None).0),
            forwards: Vec::new(),
            machine: Place::default(),
            link: None,
            trial: Trial::default(),
            reverse: Vec::new(),
            denied: Arc::default(),
            kubeconfig: None,
            ladder: None,
            probing: None,
        };
        hands.post();
        hands
    }

    /// Lets clients see the counters of what listens now.
    fn post(&self) {
        let forward = |forward: &Forwarder| PostedForward {
            spec: Arc::clone(forward.spec()),
            counters: Arc::clone(forward.counters()),
            way_in: forward.way_in().clone(),
        };
        let posted = Posted {
            links: self.links(),
            machine: Arc::clone(&self.machine),
            forwards: self.forwards.iter().map(forward).collect(),
            reverse: self
                .reverse
                .iter()
                .map(|one| Arc::clone(&one.reverse))
                .collect(),
            denied: Arc::clone(&self.denied),
        };
        self.board.post(&self.cluster, posted);
    }

    fn links(&self) -> LinkSlot {
        self.slot.subscribe()
    }

    fn threads(&mut self) -> Result<ClusterThreads, Failure> {
        if let Some(threads) = &self.threads {
            return Ok(threads.clone());
        }
        let started = ClusterThreads::start()?;
        Ok(self.threads.insert(started).clone())
    }

    /// Runs a task until it ends or the cluster's tasks have to. One that panics would be waited
    /// for in vain, so that is reported in its place.
    pub(super) fn spawn(
        &self,
        reporter: &Reporter,
        panicked: impl FnOnce(Failure) -> Report + Send + 'static,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (token, reporter) = (self.token.clone(), reporter.clone());
        self.tasks.spawn(async move {
            let caught = AssertUnwindSafe(task).catch_unwind();
            if let Some(Err(_)) = token.run_until_cancelled(caught).await {
                reporter.send(panicked(bug())).await;
            }
        });
    }
}

/// Forwards.
impl Hands {
    pub(super) fn bind(
        &mut self,
        purpose: BindPurpose,
        forwards: Vec<ForwardSpec>,
        indexes: Indexes,
        reporter: &Reporter,
    ) -> Option<Report> {
        let threads = match (self.threads(), forwards.first()) {
            (Ok(threads), _) => threads,
            (Err(_), None) => return Some(Report::ForwardsBound { purpose, forwards }),
            (Err(failure), Some(first)) => {
                let forward = first.name.clone();
                return Some(Report::BindFailed {
                    purpose,
                    forward,
                    failure,
                });
            }
        };
        let entered = threads.enter();
        let mut bound = Vec::new();
        for forward in &forwards {
            if self.forwards.iter().any(|known| **known.spec() == *forward) {
                continue;
            }
            match forwarder::bind(forward) {
                Ok(listeners) => bound.push((forward.clone(), listeners)),
                Err(error) => {
                    drop((bound, entered));
                    self.explain(purpose, forward.clone(), forwards, error, indexes, reporter);
                    return None;
                }
            }
        }
        let links = self.links();
        for (forward, listeners) in bound {
            let started = Forwarder::start(forward, listeners, &links, &self.tasks);
            self.forwards.push(started);
        }
        self.post();
        Some(Report::ForwardsBound { purpose, forwards })
    }

    /// The listeners that will close now.
    pub(super) fn unbind(&mut self, forwards: &[ForwardSpec]) -> Vec<TaskTracker> {
        let gone = self
            .forwards
            .extract_if(.., |known| forwards.contains(known.spec()));
        let doors = gone.map(|forwarder| forwarder.doors()).collect();
        self.post();
        doors
    }

    /// Reports why a forward cannot listen, once it is known who has its port.
    fn explain(
        &self,
        purpose: BindPurpose,
        forward: ForwardSpec,
        wanted: Vec<ForwardSpec>,
        error: BindError,
        indexes: Indexes,
        reporter: &Reporter,
    ) {
        let (reports, forward_name) = (reporter.clone(), forward.name.clone());
        let panicked_purpose = purpose.clone();
        let panicked = move |failure| Report::BindFailed {
            purpose: panicked_purpose,
            forward: forward_name,
            failure,
        };
        self.spawn(reporter, panicked, async move {
            let name = forward.name.clone();
            let looked_up = tokio::task::spawn_blocking(move || {
                let free = match purpose {
                    BindPurpose::Up if forward.follows_index(indexes.own) => {
                        indexes.free_for(&wanted)
                    }
                    _ => None,
                };
                (bind_failure(&forward, &error, free), purpose)
            });
            let (failure, purpose) = match looked_up.await {
                Ok(found) => found,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            let report = Report::BindFailed {
                purpose,
                forward: name,
                failure,
            };
            reports.send(report).await;
        });
    }
}

/// The machine.
impl Hands {
    pub(super) fn start_machine(
        &mut self,
        paths: Paths,
        spec: Arc<ClusterSpec>,
        reporter: &Reporter,
    ) -> Option<Report> {
        let place = Arc::clone(&self.machine);
        let task = machine_tasks::start(paths, spec, place, reporter.clone());
        self.spawn(reporter, Report::MachineFailed, task);
        None
    }

    pub(super) fn adopt_machine(&mut self, reporter: &Reporter) -> Option<Report> {
        let machine = self.machine.lock().ok()?.clone()?;
        let task = machine_tasks::watch(machine, reporter.clone());
        self.spawn(reporter, Report::MachineFailed, task);
        None
    }

    pub(super) fn stop_machine(
        &mut self,
        paths: Paths,
        spec: Arc<ClusterSpec>,
        reporter: &Reporter,
    ) -> Option<Report> {
        let (machine, links) = (Arc::clone(&self.machine), self.links());
        let task = machine_tasks::stop(paths, spec, machine, links, reporter.clone());
        self.spawn(reporter, Report::StopFailed, task);
        None
    }

    pub(super) fn remove_files(
        &mut self,
        paths: Paths,
        spec: Arc<ClusterSpec>,
        reporter: &Reporter,
    ) -> Option<Report> {
        let task = machine_tasks::remove(paths, spec, reporter.clone());
        self.spawn(reporter, Report::RemoveFailed, task);
        None
    }
}

/// The link and what is asked on it.
impl Hands {
    pub(super) fn connect(
        &mut self,
        carriers: Vec<Route>,
        spec: &ClusterSpec,
        credentials: Credentials,
        reporter: &Reporter,
    ) -> Option<Report> {
        self.disconnect();
        let threads = match self.threads() {
            Ok(threads) => threads,
            Err(failure) => {
                let attempt = 1;
                return Some(Report::LinkFailed { attempt, failure });
            }
        };
        let (token, now) = (self.token.child_token(), Arc::new(Notify::new()));
        let link = GuestLink {
            cluster: self.cluster.clone(),
            carriers,
            machine: Arc::clone(&self.machine),
            credentials,
            encrypt: spec.encrypt,
            slot: Arc::clone(&self.slot),
            reporter: reporter.clone(),
            denied: Arc::clone(&self.denied),
            now: Arc::clone(&now),
            token: token.clone(),
        };
        // Not through `spawn`: it ends by its own token, after it has told the guest.
        let _entered = threads.enter();
        let kept = threads.clone();
        self.tasks.spawn(async move {
            link.run().await;
            drop(kept);
        });
        self.link = Some(LinkTask { token, now });
        None
    }

    pub(super) fn connect_now(&mut self) -> Option<Report> {
        if let Some(link) = &self.link {
            link.now.notify_one();
        }
        None
    }

    pub(super) fn disconnect(&mut self) -> Option<Report> {
        if let Some(link) = self.link.take() {
            link.token.cancel();
        }
        for token in [self.kubeconfig.take(), self.ladder.take()] {
            token.inspect(CancellationToken::cancel);
        }
        for gone in self.reverse.drain(..) {
            gone.token.cancel();
        }
        self.post();
        self.stop_probing()
    }

    pub(super) fn apply_network(
        &mut self,
        link: u64,
        spec: Arc<ClusterSpec>,
        credentials: Option<Credentials>,
        reporter: &Reporter,
    ) -> Option<Report> {
        let network = GuestNetwork {
            links: self.links(),
            link,
            spec,
            trial: self.trial.clone(),
            credentials,
        };
        let task = network.set_up(reporter.clone());
        let panicked = move |failure| Report::NetworkFailed { link, failure };
        self.spawn(reporter, panicked, task);
        None
    }

    pub(super) fn configure_k3s(
        &mut self,
        link: u64,
        spec: Arc<ClusterSpec>,
        reporter: &Reporter,
    ) -> Option<Report> {
        let task = guest_tasks::configure_k3s(self.links(), link, spec, reporter.clone());
        let panicked = move |failure| Report::K3sFailed { link, failure };
        self.spawn(reporter, panicked, task);
        None
    }

    /// Has the guest listen for the reverse forwards of this specification and no others.
    pub(super) fn listen_in_guest(
        &mut self,
        link: u64,
        spec: &ClusterSpec,
        reporter: &Reporter,
    ) -> Option<Report> {
        let active = self.slot.borrow().clone()?;
        if active.number != link {
            return None;
        }
        let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut self.reverse)
            .into_iter()
            .partition(|one| spec.reverse.contains(&one.reverse.spec));
        gone.iter().for_each(|gone| gone.token.cancel());
        for wanted in &spec.reverse {
            let known = kept.iter().position(|one| one.reverse.spec == *wanted);
            let listener = match known.map(|at| kept.swap_remove(at)) {
                Some(known) if known.link == link && !known.token.is_cancelled() => known,
                Some(known) => {
                    known.token.cancel();
                    self.start_listener(known.reverse, &active, reporter)
                }
                None => self.start_listener(Reverse::new(wanted.clone()), &active, reporter),
            };
            self.reverse.push(listener);
        }
        self.post();
        None
    }

    fn start_listener(
        &self,
        reverse: Arc<Reverse>,
        active: &ActiveLink,
        reporter: &Reporter,
    ) -> GuestListener {
        let (link, token) = (active.number, self.token.child_token());
        let task = reverse::keep(
            Arc::clone(&reverse),
            active.clone(),
            token.clone(),
            reporter.clone(),
        );
        let spec = reverse.spec.clone();
        let panicked = move |failure: Failure| Report::ReverseForward {
            link,
            spec,
            error: Some(failure.message),
        };
        self.spawn(reporter, panicked, task);
        GuestListener {
            reverse,
            link,
            token,
        }
    }

    /// Follows the ladder anew, and no longer as before.
    pub(super) fn watch(&mut self, link: u64, reporter: &Reporter) -> Option<Report> {
        let token = self.token.child_token();
        if let Some(before) = self.ladder.replace(token.clone()) {
            before.cancel();
        }
        let watch = guest_tasks::watch(self.links(), link, reporter.clone());
        let task = async move {
            token.run_until_cancelled(watch).await;
        };
        let panicked = move |failure| Report::K3sFailed { link, failure };
        self.spawn(reporter, panicked, task);
        None
    }

    /// Follows the credentials with this specification and no longer with the one before.
    pub(super) fn follow_kubeconfig(
        &mut self,
        paths: Paths,
        link: u64,
        spec: Arc<ClusterSpec>,
        reporter: &Reporter,
    ) -> Option<Report> {
        let token = self.token.child_token();
        if let Some(before) = self.kubeconfig.replace(token.clone()) {
            before.cancel();
        }
        let task = kubeconfig_task::follow(paths, self.links(), link, spec, reporter.clone());
        self.tasks.spawn(async move {
            token.run_until_cancelled(task).await;
        });
        None
    }
}

/// Probes.
impl Hands {
    /// Probes a forward until it is closed, and no longer as before.
    pub(super) fn probe_api(
        &mut self,
        number: u64,
        forward: &ForwardSpec,
        identity: &ServerIdentity,
        reporter: Reporter,
    ) -> Option<Report> {
        self.stop_probing();
        let forwarder = self.forwards.iter().find(|one| **one.spec() == *forward)?;
        let now = Arc::new(Notify::new());
        let prober = Prober {
            now: Arc::clone(&now),
            way_in: forwarder.way_in().clone(),
            identity: identity.clone(),
            number,
            reporter,
        };
        let (closed, token) = (forwarder.closed(), self.token.child_token());
        self.probing = Some(Probing {
            token: token.clone(),
            now,
        });
        self.tasks.spawn(async move {
            tokio::select! {
                () = prober.run() => {}
                () = closed.cancelled() => {}
                () = token.cancelled() => {}
            }
        });
        None
    }

    pub(super) fn probe_now(&self) -> Option<Report> {
        if let Some(probing) = &self.probing {
            probing.now.notify_one();
        }
        None
    }

    pub(super) fn stop_probing(&mut self) -> Option<Report> {
        if let Some(probing) = self.probing.take() {
            probing.token.cancel();
        }
        None
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// What is told in place of a task that panicked; the log has what it said.
fn bug() -> Failure {
    Failure {
        kind: Kind::Bug,
        message: "a task of the daemon panicked".to_owned(),
        hints: vec!["`lkc-host daemon log` has its last words: please report them".to_owned()],
        tail: Vec::new(),
    }
}

/// Indexes of clusters.
pub(super) struct Indexes {
    /// Of the cluster at hand.
    pub(super) own: u8,
    /// Of the others.
    pub(super) taken: Vec<u8>,
}

impl Indexes {
    /// The lowest free one with which every one of the forwards could listen now.
    fn free_for(&self, forwards: &[ForwardSpec]) -> Option<u8> {
        let could_listen = |index: u8, forward: &ForwardSpec| {
            if !forward.follows_index(self.own) {
                return true;
            }
            let port = i32::from(forward.host_port) - i32::from(self.own) + i32::from(index);
            u16::try_from(port).is_ok_and(|host_port| {
                let moved = ForwardSpec {
                    host_port,
                    ..forward.clone()
                };
                forwarder::bind(&moved).is_ok()
            })
        };
        (0..=LARGEST_INDEX).find(|&index| {
            index != self.own
                && !self.taken.contains(&index)
                && forwards.iter().all(|forward| could_listen(index, forward))
        })
    }
}
