//! What the machine's first process does about its agent, as a pure state machine: restart it when
//! it dies, end the machine when it ends on purpose or when told to.

use std::time::{Duration, Instant};

use crate::machine::MachineExit;

/// Pause before the first restart of an agent that died; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An agent that ran this long was well, so its death starts a new series of pauses.
const WELL_AFTER: Duration = Duration::from_secs(10);

/// How long an agent that was told to stop may take. Whoever stops the machine has a deadline of
/// their own; this one is for a machine that nobody waits for, as when the host shuts down.
const AGENT_GRACE: Duration = Duration::from_secs(60);

/// How long what the agent left running, k3s first of all, may take to stop.
const REST_GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    AgentExited {
        success: bool,
    },
    /// The agent's program could not be run this time.
    AgentNotStarted,
    /// The machine is to stop.
    Terminate,
    /// The first process has no child left.
    Alone,
    /// The instant of [`Supervisor::deadline`] has come.
    Deadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    StartAgent,
    TerminateAgent,
    TerminateRest,
    Exit(MachineExit),
}

#[derive(Debug)]
pub(super) struct Supervisor {
    phase: Phase,
    pause: Duration,
}

#[derive(Debug)]
enum Phase {
    Running { since: Instant },
    Pausing { until: Instant },
    StoppingAgent { until: Instant },
    StoppingRest { exit: MachineExit, until: Instant },
}

impl Supervisor {
    /// The agent has just been started.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Running { since: now },
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { .. } => None,
            Phase::Pausing { until }
            | Phase::StoppingAgent { until }
            | Phase::StoppingRest { until, .. } => Some(until),
        }
    }

    pub(super) fn handle(&mut self, event: Event, now: Instant) -> Option<Action> {
        match (&self.phase, event) {
            (Phase::Running { .. }, Event::AgentExited { success: true }) => {
                self.stop_rest(MachineExit::ShutDown, now)
            }
            (Phase::Running { since }, Event::AgentExited { .. } | Event::AgentNotStarted) => {
                if now.saturating_duration_since(*since) >= WELL_AFTER {
                    self.pause = FIRST_PAUSE;
                }
                self.phase = Phase::Pausing {
                    until: now + self.pause,
                };
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                None
            }
            (Phase::Running { .. }, Event::Terminate) => {
                self.phase = Phase::StoppingAgent {
                    until: now + AGENT_GRACE,
                };
                Some(Action::TerminateAgent)
            }
            (Phase::Pausing { until }, Event::Deadline) if now >= *until => {
                self.phase = Phase::Running { since: now };
                Some(Action::StartAgent)
            }
            (Phase::Pausing { .. }, Event::Terminate)
            | (Phase::StoppingAgent { .. }, Event::AgentExited { .. }) => {
                self.stop_rest(MachineExit::Stopped, now)
            }
            (Phase::StoppingAgent { until }, Event::Deadline) if now >= *until => {
                Some(Action::Exit(MachineExit::Stopped))
            }
            (Phase::StoppingRest { exit, .. }, Event::Alone) => Some(Action::Exit(*exit)),
            (Phase::StoppingRest { exit, until }, Event::Deadline) if now >= *until => {
                Some(Action::Exit(*exit))
            }
            _ => None,
        }
    }

    fn stop_rest(&mut self, exit: MachineExit, now: Instant) -> Option<Action> {
        self.phase = Phase::StoppingRest {
            exit,
            until: now + REST_GRACE,
        };
        Some(Action::TerminateRest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIED: Event = Event::AgentExited { success: false };
    const DONE: Event = Event::AgentExited { success: true };

    #[test]
    fn an_agent_that_dies_comes_back_after_growing_pauses() {
        let mut now = Instant::now();
        let mut supervisor = Supervisor::new(now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert_eq!(supervisor.handle(DIED, now), None);
            let until = supervisor.deadline().unwrap();
            pauses.push((until - now).as_millis());
            assert_eq!(supervisor.handle(Event::Deadline, now), None, "too early");
            now = until;
            assert_eq!(
                supervisor.handle(Event::Deadline, now),
                Some(Action::StartAgent)
            );
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        now += WELL_AFTER;
        supervisor.handle(Event::AgentNotStarted, now);
        assert_eq!(supervisor.deadline(), Some(now + FIRST_PAUSE));
    }

    #[test]
    fn an_agent_that_ends_on_purpose_ends_the_machine() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(now);
        assert_eq!(supervisor.handle(DONE, now), Some(Action::TerminateRest));
        assert_eq!(
            supervisor.handle(Event::Alone, now),
            Some(Action::Exit(MachineExit::ShutDown))
        );
    }

    #[test]
    fn a_machine_that_is_told_to_stop_stops_the_agent_first() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(now);
        assert_eq!(
            supervisor.handle(Event::Terminate, now),
            Some(Action::TerminateAgent)
        );
        assert_eq!(supervisor.handle(Event::Terminate, now), None);
        assert_eq!(supervisor.handle(DIED, now), Some(Action::TerminateRest));
        assert_eq!(supervisor.deadline(), Some(now + REST_GRACE));
        assert_eq!(
            supervisor.handle(Event::Deadline, now + REST_GRACE),
            Some(Action::Exit(MachineExit::Stopped))
        );
    }

    #[test]
    fn an_agent_that_ignores_its_stop_does_not_keep_the_machine() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(now);
        supervisor.handle(Event::Terminate, now);
        assert_eq!(
            supervisor.handle(Event::Deadline, now + AGENT_GRACE),
            Some(Action::Exit(MachineExit::Stopped))
        );
    }

    #[test]
    fn a_stop_between_two_agents_starts_none() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(now);
        supervisor.handle(DIED, now);
        assert_eq!(
            supervisor.handle(Event::Terminate, now),
            Some(Action::TerminateRest)
        );
        assert_eq!(
            supervisor.handle(Event::Alone, now),
            Some(Action::Exit(MachineExit::Stopped))
        );
    }
}
