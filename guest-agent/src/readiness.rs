//! The readiness ladder of this node, as a pure function of what was observed.
//!
//! ```text
//! agent → network → k3s → api → registered → node → system
//! ```
//!
//! A rung is Ready only when every rung below it is. What lies above a rung that does not hold is
//! Pending and says what it waits for; what had been observed there is forgotten, since it was true
//! of an API that is gone. There is no timer and no I/O here: [`Ladder::handle`] folds one
//! [`Observation`] and tells whether anything that travels has changed.
//!
//! A node of role agent has no credentials for the cluster's API. Its ladder ends at `k3s`: the rungs
//! from `api` up stay Pending and refer to the server, whose agent sees this node's object.

mod observation;
mod rungs;
mod text;

use std::sync::Arc;
use std::time::Instant;

use lkc_protocol::message::{Change, K3sRole, K3sSummary, Rung, RungStatus, Snapshot};

pub use observation::{ApiState, K3sState, NetworkState, NodeState, Observation, SystemState};
pub use text::{MAX_DETAIL_CHARS, MAX_TAIL_LINES, one_line, tail_lines};

/// What the ladder must know of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LadderConfig {
    /// Role of the node in k3s.
    pub role: K3sRole,
    /// Name of its node object.
    pub node_name: String,
}

/// The ladder with what it was built from.
#[derive(Debug)]
pub struct Ladder {
    config: LadderConfig,
    facts: Facts,
    shown: Arc<Snapshot>,
    changed_at: Instant,
}

/// The last observation of each kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Facts {
    network: Option<NetworkState>,
    k3s: Option<K3sState>,
    api: Option<ApiState>,
    node: Option<NodeState>,
    system: Option<SystemState>,
    summary: K3sSummary,
}

impl Ladder {
    /// A ladder of which nothing is known but that the agent runs.
    #[must_use]
    pub fn new(config: LadderConfig, now: Instant) -> Self {
        let facts = Facts::default();
        let shown = Snapshot {
            sequence: 1,
            rungs: rungs::all(&config, &facts),
            k3s: K3sSummary::default(),
        };
        Self {
            config,
            facts,
            shown: Arc::new(shown),
            changed_at: now,
        }
    }

    /// Folds an observation. True when the snapshot differs from the one before, in which case its
    /// sequence number has grown.
    pub fn handle(&mut self, observation: Observation, now: Instant) -> bool {
        match observation {
            Observation::Configured(config) => self.handle_configured(config),
            Observation::Network(state) => self.facts.network = Some(state),
            Observation::K3s(state) => self.handle_k3s(state),
            Observation::Api(state) => self.handle_api(state),
            Observation::Started(_) => {}
            Observation::Node(state) => self.facts.node = Some(state),
            Observation::System(state) => self.facts.system = Some(state),
        }
        self.publish(now)
    }

    /// The whole ladder, cheap to clone.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shown)
    }

    /// What a rung stands at.
    #[must_use]
    pub fn rung(&self, rung: Rung) -> Option<&RungStatus> {
        self.shown.rungs.iter().find(|status| status.rung == rung)
    }

    /// When the snapshot changed last.
    #[must_use]
    pub fn changed_at(&self) -> Instant {
        self.changed_at
    }

    fn handle_configured(&mut self, config: LadderConfig) {
        if self.config != config {
            self.facts.node = None;
            self.config = config;
        }
    }

    fn handle_k3s(&mut self, state: K3sState) {
        let was_running = matches!(self.facts.k3s, Some(K3sState::Running { .. }));
        if was_running && !matches!(state, K3sState::Running { .. }) {
            self.facts.api = None;
            self.forget_objects();
        }
        match &state {
            K3sState::Running {
                version,
                simulated,
                restarts,
                ..
            } => {
                let (simulated, restarts) = (*simulated, *restarts);
                self.facts.summary = K3sSummary {
                    version: one_line(version),
                    simulated,
                    restarts,
                };
            }
            K3sState::Exited { restarts, .. } | K3sState::CrashLoop { restarts, .. } => {
                self.facts.summary.restarts = *restarts;
            }
            K3sState::Absent { .. } | K3sState::Starting | K3sState::Failed { .. } => {}
        }
        self.facts.k3s = Some(state);
    }

    fn handle_api(&mut self, state: ApiState) {
        if state != ApiState::Ready {
            self.forget_objects();
        }
        self.facts.api = Some(state);
    }

    fn forget_objects(&mut self) {
        self.facts.node = None;
        self.facts.system = None;
    }

    fn publish(&mut self, now: Instant) -> bool {
        let rungs = rungs::all(&self.config, &self.facts);
        if rungs == self.shown.rungs && self.facts.summary == self.shown.k3s {
            return false;
        }
        let sequence = self.shown.sequence + 1;
        self.shown = Arc::new(Snapshot {
            sequence,
            rungs,
            k3s: self.facts.summary.clone(),
        });
        self.changed_at = now;
        true
    }
}

/// What leads from one snapshot to a later one of the same ladder.
#[must_use]
pub fn difference(before: &Snapshot, after: &Snapshot) -> Change {
    let rungs = after
        .rungs
        .iter()
        .filter(|rung| !before.rungs.contains(rung))
        .cloned()
        .collect();
    Change {
        sequence: after.sequence,
        rungs,
        k3s: (before.k3s != after.k3s).then(|| after.k3s.clone()),
    }
}

#[cfg(test)]
mod tests;
