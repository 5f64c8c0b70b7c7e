//! What becomes of a change, as a pure function of what happened and of the time.
//!
//! ```text
//! Idle → Arming → Applying → AwaitConfirm → Committing → Committed
//!                     └──────────┴──→ RollingBack ──→ RolledBack
//! ```

use std::time::Duration;

use super::{BootTime, ChangeId};

/// What a host must show that it has reached an address of the configuration.
pub(super) type Secret = [u8; 16];

/// A change under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) id: ChangeId,
    pub(super) deadline: BootTime,
    /// None where no proof was asked for.
    pub(super) secret: Option<Secret>,
}

/// How far the last change is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// The timer that takes it back is being started. Nothing has been changed.
    Arming(Change),
    Applying(Change),
    AwaitConfirm {
        change: Change,
        /// Since when the network is as asked: a confirmation comes on a link that is younger.
        since: BootTime,
    },
    /// Confirmed, being written down.
    Committing(Change),
    RollingBack {
        change: Change,
        reason: String,
    },
    Committed(ChangeId),
    RolledBack {
        id: ChangeId,
        reason: String,
        /// What the way back left undone; none when the network is verified to be as before.
        left: Option<String>,
    },
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// A host asks for a change.
    Try { change: Change },
    /// The timer runs, or why it cannot.
    Armed(Result<(), String>),
    /// The network is as asked, verified.
    Applied {
        /// Whether it was before.
        changed: bool,
    },
    /// It could not be made so.
    Failed(String),
    /// A host confirms.
    Confirm {
        id: ChangeId,
        /// Since when its link is up.
        link_since: BootTime,
        proof: Vec<u8>,
    },
    /// A host does not want it any more.
    RollBack { id: ChangeId },
    /// The configuration is written down, or why it cannot be.
    Kept(Result<(), String>),
    /// The way back is over, with what it left undone.
    TakenBack { left: Option<String> },
    /// An agent before this one had begun it.
    Found {
        change: Change,
        /// Whether the network had become as asked.
        applied: bool,
    },
    /// A keeper before this one has seen it confirmed.
    Confirmed { id: ChangeId },
    /// A keeper before this one, or the timer's process, has taken it back.
    Over {
        id: ChangeId,
        reason: String,
        left: Option<String>,
    },
    /// Time has passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Write down the state before and start the timer.
    Arm,
    /// Change the network.
    CarryOut,
    /// Write the configuration down for the next boots.
    Keep,
    /// Bring the earlier state back.
    TakeBack,
    /// Stop the timer and forget the state before.
    Disarm,
}

/// Why a host does not get what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// One at a time.
    #[error("change {id} is pending, for {} s more: confirm it or roll it back first", left.as_secs())]
    Busy {
        /// The other.
        id: ChangeId,
        /// Until it is taken back.
        left: Duration,
    },
    /// It is over.
    #[error("change {id} was taken back: {reason}")]
    RolledBack {
        /// The change.
        id: ChangeId,
        /// Why.
        reason: String,
    },
    /// It is over.
    #[error("change {id} is confirmed already")]
    Committed {
        /// The change.
        id: ChangeId,
    },
    /// Nobody asked for it since the boot.
    #[error("there is no change {id}: a restart of the guest takes back what is not confirmed")]
    Unknown {
        /// The change.
        id: ChangeId,
    },
    /// It is not there to be confirmed yet.
    #[error("change {id} is still being made")]
    Unfinished {
        /// The change.
        id: ChangeId,
    },
    /// The link says nothing about the network as it is now.
    #[error("a change is confirmed on a link that came up after it")]
    OldLink,
    /// The host has not been there.
    #[error("the host has not shown that it reaches an address of the new configuration")]
    NotProven,
}

/// The machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    phase: Phase,
}

impl Machine {
    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The change under way, none when the last one is over.
    pub(super) fn under_way(&self) -> Option<Change> {
        match &self.phase {
            Phase::Idle | Phase::Committed(_) | Phase::RolledBack { .. } => None,
            Phase::Arming(change)
            | Phase::Applying(change)
            | Phase::Committing(change)
            | Phase::AwaitConfirm { change, .. }
            | Phase::RollingBack { change, .. } => Some(*change),
        }
    }

    /// Folds an event. What is not its turn changes nothing.
    ///
    /// # Errors
    /// What a host asked for is not done; the steps are for other reasons then.
    pub(super) fn handle(
        &mut self,
        event: Event,
        now: BootTime,
    ) -> (Vec<Step>, Result<(), Refused>) {
        match event {
            Event::Try { change } => self.handle_try(change, now),
            Event::Confirm {
                id,
                link_since,
                proof,
            } => self.handle_confirm(id, link_since, &proof, now),
            Event::RollBack { id } => self.handle_roll_back(id),
            own => (self.handle_own(own, now), Ok(())),
        }
    }

    fn handle_try(&mut self, change: Change, now: BootTime) -> (Vec<Step>, Result<(), Refused>) {
        if let Some(other) = self.under_way() {
            let busy = Refused::Busy {
                id: other.id,
                left: other.deadline.since(now),
            };
            return (
                Vec::new(),
                if other.id == change.id {
                    Ok(())
                } else {
                    Err(busy)
                },
            );
        }
        match self.over(change.id) {
            Some(Refused::Committed { .. }) => (Vec::new(), Ok(())),
            Some(refused) => (Vec::new(), Err(refused)),
            None => {
                self.phase = Phase::Arming(change);
                (vec![Step::Arm], Ok(()))
            }
        }
    }

    fn handle_confirm(
        &mut self,
        id: ChangeId,
        link_since: BootTime,
        proof: &[u8],
        now: BootTime,
    ) -> (Vec<Step>, Result<(), Refused>) {
        match self.phase {
            Phase::AwaitConfirm { change, since } if change.id == id => {
                if now >= change.deadline {
                    let steps = self.handle_own(Event::Tick, now);
                    return (steps, Err(self.refusal(id)));
                }
                if link_since <= since {
                    return (Vec::new(), Err(Refused::OldLink));
                }
                if change.secret.is_some_and(|secret| proof != secret) {
                    return (Vec::new(), Err(Refused::NotProven));
                }
                self.phase = Phase::Committing(change);
                (vec![Step::Keep], Ok(()))
            }
            Phase::Committed(committed) if committed == id => (Vec::new(), Ok(())),
            _ => (Vec::new(), Err(self.refusal(id))),
        }
    }

    fn handle_roll_back(&mut self, id: ChangeId) -> (Vec<Step>, Result<(), Refused>) {
        match &self.phase {
            Phase::AwaitConfirm { change, .. } if change.id == id => {
                let steps = self.begin_way_back(*change, "the host asked for it");
                (steps, Ok(()))
            }
            Phase::RollingBack { change, .. } if change.id == id => (Vec::new(), Ok(())),
            Phase::RolledBack { id: other, .. } if *other == id => (Vec::new(), Ok(())),
            _ => (Vec::new(), Err(self.refusal(id))),
        }
    }

    fn handle_own(&mut self, event: Event, now: BootTime) -> Vec<Step> {
        match (event, self.phase.clone()) {
            (Event::Armed(Ok(())), Phase::Arming(change)) => {
                self.phase = Phase::Applying(change);
                vec![Step::CarryOut]
            }
            (Event::Armed(Err(why)), Phase::Arming(change)) => {
                self.phase = Phase::RolledBack {
                    id: change.id,
                    reason: format!("it was not begun: {why}"),
                    left: None,
                };
                vec![Step::Disarm]
            }
            (Event::Applied { changed: false }, Phase::Applying(change)) => {
                self.phase = Phase::Committing(change);
                vec![Step::Keep]
            }
            (Event::Applied { changed: true }, Phase::Applying(change)) => {
                if now >= change.deadline {
                    return self.begin_way_back(change, "it took longer than its deadline");
                }
                self.phase = Phase::AwaitConfirm { change, since: now };
                Vec::new()
            }
            (Event::Failed(why), Phase::Applying(change)) => self.begin_way_back(change, &why),
            (Event::Kept(Ok(())), Phase::Committing(change)) => {
                self.phase = Phase::Committed(change.id);
                vec![Step::Disarm]
            }
            (Event::Kept(Err(why)), Phase::Committing(change)) => {
                self.begin_way_back(change, &format!("it cannot be kept: {why}"))
            }
            (Event::TakenBack { left }, Phase::RollingBack { change, reason }) => {
                self.phase = Phase::RolledBack {
                    id: change.id,
                    reason,
                    left,
                };
                vec![Step::Disarm]
            }
            (Event::Tick, Phase::AwaitConfirm { change, .. }) if now >= change.deadline => {
                self.begin_way_back(change, "no host has confirmed it in time")
            }
            (Event::Found { change, applied }, Phase::Idle) => {
                if !applied {
                    return self.begin_way_back(change, "the agent ended while it was made");
                }
                if now >= change.deadline {
                    return self.begin_way_back(change, "no host has confirmed it in time");
                }
                self.phase = Phase::AwaitConfirm { change, since: now };
                Vec::new()
            }
            (Event::Confirmed { id }, Phase::Idle) => {
                self.phase = Phase::Committed(id);
                Vec::new()
            }
            (Event::Over { id, reason, left }, Phase::Idle) => {
                self.phase = Phase::RolledBack { id, reason, left };
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn begin_way_back(&mut self, change: Change, reason: &str) -> Vec<Step> {
        self.phase = Phase::RollingBack {
            change,
            reason: reason.to_owned(),
        };
        vec![Step::TakeBack]
    }

    /// Why nothing can be done with a change.
    fn refusal(&self, id: ChangeId) -> Refused {
        match &self.phase {
            Phase::Arming(change) | Phase::Applying(change) | Phase::Committing(change)
                if change.id == id =>
            {
                Refused::Unfinished { id }
            }
            Phase::RollingBack { change, reason } if change.id == id => Refused::RolledBack {
                id,
                reason: reason.clone(),
            },
            _ => self.over(id).unwrap_or(Refused::Unknown { id }),
        }
    }

    /// What became of a change that is over.
    fn over(&self, id: ChangeId) -> Option<Refused> {
        match &self.phase {
            Phase::Committed(committed) if *committed == id => Some(Refused::Committed { id }),
            Phase::RolledBack {
                id: other, reason, ..
            } if *other == id => Some(Refused::RolledBack {
                id,
                reason: reason.clone(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
