//! What is shown of a cluster's steps: the machine first, then every rung.
//!
//! The host knows of itself whether there is a machine and a link, and how far it has set up the
//! guest; from `network` up the guest's own ladder decides as soon as it has arrived on this link.

use lkc_protocol::message::{Change, K3sSummary, Rung, RungState, RungStatus, Snapshot};

use super::cluster::MAX_TAIL;
use crate::{
    config::Driver,
    control::{Failure, Phase, StepStatus},
    sanitize,
};

/// What a failure belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Culprit {
    Machine,
    Rung(Rung),
}

/// The guest's ladder as it came on the current link, made harmless.
#[derive(Debug)]
pub(super) struct Picture {
    sequence: u64,
    rungs: Vec<RungStatus>,
}

impl Picture {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let mut picture = Self {
            sequence: snapshot.sequence,
            rungs: Vec::new(),
        };
        picture.take(snapshot.rungs);
        picture
    }

    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn apply(&mut self, change: Change) {
        self.sequence = change.sequence;
        self.take(change.rungs);
    }

    pub(super) fn summary(k3s: &K3sSummary) -> K3sSummary {
        K3sSummary {
            version: sanitize::line(&k3s.version),
            ..*k3s
        }
    }

    fn take(&mut self, rungs: Vec<RungStatus>) {
        for rung in rungs {
            let excess = rung.tail.len().saturating_sub(MAX_TAIL);
            let tail = &rung.tail[excess..];
            let harmless = RungStatus {
                detail: sanitize::line(&rung.detail),
                tail: tail.iter().map(|line| sanitize::line(line)).collect(),
                ..rung
            };
            self.rungs.retain(|known| known.rung != rung.rung);
            self.rungs.push(harmless);
        }
    }

    /// Whether a rung failed in a way that waiting does not mend.
    pub(super) fn has_failed(&self) -> bool {
        self.rungs
            .iter()
            .any(|rung| rung.state == RungState::Failed)
    }

    pub(super) fn is_ready(&self, rung: Rung) -> bool {
        self.rung(rung)
            .is_some_and(|known| known.state == RungState::Ready)
    }

    fn rung(&self, rung: Rung) -> Option<&RungStatus> {
        self.rungs.iter().find(|known| known.rung == rung)
    }
}

/// Everything that the steps follow from.
#[derive(Debug)]
pub(super) struct Knowledge<'a> {
    pub(super) driver: Driver,
    pub(super) phase: Phase,
    pub(super) machine_runs: bool,
    pub(super) link_up: bool,
    /// Links made in this run.
    pub(super) links: u64,
    pub(super) link_detail: &'a str,
    pub(super) agent_version: &'a str,
    /// What the guest said of the network that it applied on this link.
    pub(super) network: Option<&'a str>,
    pub(super) picture: Option<&'a Picture>,
    pub(super) failure: Option<&'a (Culprit, Failure)>,
}

/// The machine, then every rung from the bottom.
pub(super) fn steps(known: &Knowledge<'_>) -> Vec<StepStatus> {
    let mut steps = vec![machine(known)];
    let mut below: Option<Rung> = None;
    for &rung in Rung::ALL {
        let mut step = own_failure(known, rung).unwrap_or_else(|| rung_step(known, rung));
        if let Some(below) = below
            && step.state != RungState::Unknown
        {
            step = shown(rung, RungState::Pending, &format!("waits for {below}"));
        }
        if below.is_none() && step.state != RungState::Ready {
            below = Some(rung);
        }
        steps.push(step);
    }
    steps
}

fn machine(known: &Knowledge<'_>) -> StepStatus {
    let failure = known
        .failure
        .filter(|(culprit, _)| *culprit == Culprit::Machine);
    let (state, detail) = match (known.phase, failure) {
        (Phase::Failed, Some((_, failure))) => (RungState::Failed, failure.message.as_str()),
        (Phase::Failed, None) => (RungState::Failed, "failed"),
        (Phase::Down, _) => (RungState::Pending, "down"),
        (Phase::Stopping, _) => (RungState::Progressing, "stopping"),
        (Phase::Starting | Phase::Up, _) if known.machine_runs => (RungState::Ready, "started"),
        (Phase::Starting | Phase::Up, _) => (RungState::Progressing, "starting"),
    };
    StepStatus {
        name: known.driver.to_string(),
        rung: None,
        state,
        detail: detail.to_owned(),
        tail: failure.map_or_else(Vec::new, |(_, failure)| failure.tail.clone()),
        ready_after_ms: None,
    }
}

fn own_failure(known: &Knowledge<'_>, rung: Rung) -> Option<StepStatus> {
    let (_, failure) = known
        .failure
        .filter(|(culprit, _)| *culprit == Culprit::Rung(rung))?;
    Some(StepStatus {
        tail: failure.tail.clone(),
        ..shown(rung, RungState::Failed, &failure.message)
    })
}

fn rung_step(known: &Knowledge<'_>, rung: Rung) -> StepStatus {
    let running = matches!(known.phase, Phase::Starting | Phase::Up) && known.machine_runs;
    if !running {
        return shown(rung, RungState::Pending, "");
    }
    if !known.link_up && known.links > 0 {
        let detail = format!("link lost: {}", known.link_detail);
        return shown(rung, RungState::Unknown, &detail);
    }
    match rung {
        Rung::Agent if known.link_up => {
            let detail = format!("lkc-guest {}, link up", known.agent_version);
            shown(rung, RungState::Ready, &detail)
        }
        Rung::Agent if known.link_detail.is_empty() => {
            shown(rung, RungState::Progressing, "waiting for the agent")
        }
        Rung::Agent => shown(rung, RungState::Progressing, known.link_detail),
        _ => match known.picture.and_then(|picture| picture.rung(rung)) {
            Some(told) => StepStatus {
                tail: told.tail.clone(),
                ..shown(rung, told.state, &told.detail)
            },
            None => not_told(known, rung),
        },
    }
}

/// What the host can say of a rung on its own.
fn not_told(known: &Knowledge<'_>, rung: Rung) -> StepStatus {
    let (state, detail) = match (rung, known.network) {
        (Rung::Network, Some(summary)) => (RungState::Ready, summary),
        (Rung::Network, None) => (RungState::Progressing, "applying"),
        (Rung::K3s, Some(_)) => (RungState::Progressing, "configuring"),
        _ => (RungState::Progressing, "not reported yet"),
    };
    shown(rung, state, detail)
}

fn shown(rung: Rung, state: RungState, detail: &str) -> StepStatus {
    StepStatus {
        name: rung.to_string(),
        rung: Some(rung),
        state,
        detail: detail.to_owned(),
        tail: Vec::new(),
        ready_after_ms: None,
    }
}

/// When each step became ready; forgotten when it is not any more.
#[derive(Debug, Default)]
pub(super) struct ReadyTimes {
    after_ms: Vec<Option<u64>>,
}

impl ReadyTimes {
    /// Fills the times in; `now_ms` is milliseconds since the start of this run.
    pub(super) fn note(&mut self, steps: &mut [StepStatus], now_ms: u64) {
        self.after_ms.resize(steps.len(), None);
        for (step, after_ms) in steps.iter_mut().zip(&mut self.after_ms) {
            *after_ms = match step.state {
                RungState::Ready => Some(after_ms.unwrap_or(now_ms)),
                _ => None,
            };
            step.ready_after_ms = *after_ms;
        }
    }
}
