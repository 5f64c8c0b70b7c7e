//! What the control server sees of the daemon: a way to ask, and what is shown.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    forwarder::{ForwardCounters, WayIn},
    guest_clock,
    guest_link::LinkSlot,
    machine_tasks::{self, Place},
    node_info,
    probe::reach,
    reverse::Reverse,
    state::{Begun, ClusterRequest, View, unknown_cluster},
};
use crate::{
    config::{ClusterName, ForwardSpec},
    control::{ClusterStatus, DaemonInfo, Failure, ForwardCheck},
    error::Kind,
    machine::{Snapshot, SnapshotOrder},
};

/// Longest time to try one listener: a little more than a connection without a link is parked.
const CHECK_DEADLINE: Duration = Duration::from_secs(12);

/// How every cluster stands.
pub type Views = BTreeMap<ClusterName, Arc<View>>;

/// A request with the place for its answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) request: ClusterRequest,
    pub(super) answer: oneshot::Sender<Result<Begun, Failure>>,
}

/// A way to the daemon. Clones are the same daemon.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) views: watch::Receiver<Views>,
    pub(super) board: Arc<Board>,
    pub(super) started: Instant,
    pub(super) stop: CancellationToken,
}

impl Handle {
    /// Asks for something about a cluster; answered as soon as it has begun.
    ///
    /// # Errors
    /// Why it did not begin, or that the daemon is ending.
    pub async fn ask(&self, request: ClusterRequest) -> Result<Begun, Failure> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { request, answer };
        if self.asks.send(ask).await.is_err() {
            return Err(ending());
        }
        answered.await.unwrap_or_else(|_| Err(ending()))
    }

    /// How every cluster stands, as it changes.
    #[must_use]
    pub fn views(&self) -> watch::Receiver<Views> {
        self.views.clone()
    }

    /// What is shown of a view: with the counters of this moment.
    #[must_use]
    pub fn shown(&self, view: &View) -> ClusterStatus {
        let mut status = view.status.clone();
        self.board.count(&mut status);
        status
    }

    /// The same, with what the node says of itself at this moment if it can be asked.
    pub async fn shown_with_node(&self, view: &View) -> ClusterStatus {
        let mut status = self.shown(view);
        let link = self
            .links(&status.name)
            .and_then(|links| links.borrow().clone());
        if let Some(active) = link {
            status.node = node_info::ask(&active.link).await;
            if let Some(node) = &mut status.node {
                node.usage = node_info::usage(&active.link).await;
                node.clock = guest_clock::status(&active.clock);
            }
        }
        status
    }

    /// Where the link of a cluster is found; none for a cluster that never ran.
    #[must_use]
    pub fn links(&self, cluster: &ClusterName) -> Option<LinkSlot> {
        let posted = self.board.lock();
        posted.get(cluster).map(|posted| posted.links.clone())
    }

    /// Tries the forwards of a cluster that one of `wanted` means, or every one; what was found at
    /// each of their listeners.
    ///
    /// # Errors
    /// The cluster is not known, or one of `wanted` means no forward that listens.
    pub async fn check(
        &self,
        cluster: &ClusterName,
        wanted: &[String],
    ) -> Result<Vec<ForwardCheck>, Failure> {
        let known = match self.board.lock().get(cluster) {
            Some(posted) => posted.forwards.clone(),
            None => return Err(unknown_cluster(cluster)),
        };
        let means = |text: &String, one: &PostedForward| {
            one.spec.name == *text || one.spec.is_meant_by(text)
        };
        for text in wanted {
            if !known.iter().any(|one| means(text, one)) {
                return Err(no_listener(cluster, text));
            }
        }
        let tried = known
            .iter()
            .filter(|one| wanted.is_empty() || wanted.iter().any(|text| means(text, one)))
            .map(|one| reach(&one.spec, &one.way_in, CHECK_DEADLINE));
        let found = futures::future::join_all(tried).await;
        Ok(found.into_iter().flatten().collect())
    }

    /// Does something with the snapshots of a cluster's machine; those that there are then.
    ///
    /// # Errors
    /// The cluster is not known, its machine does not run, or the driver cannot.
    pub async fn snapshot(
        &self,
        cluster: &ClusterName,
        order: &SnapshotOrder,
    ) -> Result<Vec<Snapshot>, Failure> {
        let place = match self.board.lock().get(cluster) {
            Some(posted) => Arc::clone(&posted.machine),
            None => return Err(unknown_cluster(cluster)),
        };
        let machine = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(machine) = machine else {
            return Err(not_running(cluster));
        };
        // In a task of its own: whoever asked may go away, and what is half done stays so.
        let order = order.clone();
        let links = self.links(cluster);
        let done = tokio::spawn(async move {
            let done = machine.snapshot(&order).await;
            let moved = matches!(order, SnapshotOrder::Save(_) | SnapshotOrder::Restore(_));
            let active = links.and_then(|links| links.borrow().clone());
            if let Some(active) = active.filter(|_| moved) {
                // What it leads to was unplugged, or is another moment's: the next one is right.
                active.link.close();
            }
            done
        })
        .await;
        match done {
            Ok(done) => done.map_err(|error| machine_tasks::failure(&error)),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Who this daemon is.
    #[must_use]
    pub fn info(&self) -> DaemonInfo {
        let clusters = self.views.borrow().len();
        DaemonInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            clusters: u32::try_from(clusters).unwrap_or(u32::MAX),
        }
    }

    /// Ends the daemon; machines go on running.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

fn no_listener(cluster: &ClusterName, text: &str) -> Failure {
    Failure {
        kind: Kind::NotFound,
        message: format!(
            "no forward {} of cluster {cluster} listens",
            crate::sanitize::line(text)
        ),
        hints: vec![format!(
            "`lkc-host forward ls {cluster}` lists the forwards"
        )],
        tail: Vec::new(),
    }
}

fn not_running(cluster: &ClusterName) -> Failure {
    Failure {
        kind: Kind::Conflict,
        message: format!("the machine of {cluster} does not run"),
        hints: vec![format!("`lkc-host up {cluster}` starts it")],
        tail: Vec::new(),
    }
}

fn ending() -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: "the daemon is ending".to_owned(),
        hints: vec!["run this again: the daemon starts when it is needed".to_owned()],
        tail: Vec::new(),
    }
}

/// What the tasks of a cluster show without asking anybody.
#[derive(Debug, Default)]
pub(super) struct Board {
    posted: Mutex<HashMap<ClusterName, Posted>>,
}

#[derive(Debug)]
pub(super) struct Posted {
    pub(super) links: LinkSlot,
    pub(super) machine: Place,
    pub(super) forwards: Vec<PostedForward>,
    pub(super) reverse: Vec<Arc<Reverse>>,
    /// What the guest asked of this host without being asked to.
    pub(super) denied: Arc<AtomicU64>,
}

/// A forward that listens.
#[derive(Debug, Clone)]
pub(super) struct PostedForward {
    pub(super) spec: Arc<ForwardSpec>,
    pub(super) counters: Arc<ForwardCounters>,
    pub(super) way_in: WayIn,
}

impl Board {
    pub(super) fn post(&self, cluster: &ClusterName, posted: Posted) {
        self.lock().insert(cluster.clone(), posted);
    }

    pub(super) fn withdraw(&self, cluster: &ClusterName) {
        self.lock().remove(cluster);
    }

    fn count(&self, status: &mut ClusterStatus) {
        let posted = self.lock();
        let Some(posted) = posted.get(&status.name) else {
            return;
        };
        status.link.denied = posted.denied.load(Ordering::Relaxed);
        for shown in &mut status.reverse {
            let found = posted
                .reverse
                .iter()
                .find(|one| one.spec.name == shown.name);
            if let Some(reverse) = found {
                reverse.counters.show(shown);
            }
        }
        for forward in &mut status.forwards {
            let found = posted.forwards.iter().find(|one| {
                one.spec.name == forward.name
                    && one.spec.protocol == forward.protocol
                    && one.spec.listens_on() == forward.listen
            });
            if let Some(found) = found {
                found.counters.show(forward);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterName, Posted>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
