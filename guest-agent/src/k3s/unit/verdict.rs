//! From a unit's state to that of k3s, with what came before. Pure.

use std::time::Instant;

use super::status::{Load, State, Status};
use crate::k3s::process::RestartPolicy;

/// The result of a unit that systemd starts no more.
const START_LIMIT: &str = "start-limit-hit";

/// How k3s stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its process runs.
    Running {
        pid: u32,
    },
    Starting,
    /// Not started, or stopped on request.
    Absent {
        detail: String,
    },
    /// Ended; systemd starts it again.
    Exited {
        status: String,
        restarts: u32,
    },
    /// Ends again and again.
    CrashLoop {
        status: String,
        restarts: u32,
    },
    /// Does not run, and will not without help.
    Failed {
        error: String,
        /// Whether its log says more.
        ended: bool,
    },
}

/// Follows the states of one unit.
#[derive(Debug)]
pub(super) struct UnitWatch {
    name: String,
    policy: RestartPolicy,
    /// Restarts that systemd counted when it was asked last.
    restarts: Option<u32>,
    /// Unexpected ends that were counted.
    ends: u32,
    /// How the process ended last.
    last_exit: String,
    main_pid: Option<u32>,
    /// Why the last job did not start it.
    refused: Option<String>,
}

impl UnitWatch {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            policy: RestartPolicy::default(),
            restarts: None,
            ends: 0,
            last_exit: "exit status unknown".to_owned(),
            main_pid: None,
            refused: None,
        }
    }

    /// A job of the unit is over. What a start of it says by itself is in its state then.
    pub(super) fn handle_job(&mut self, result: &str) {
        let name = &self.name;
        self.refused = match result {
            "dependency" => Some(format!(
                "{name} was not started: a unit that it needs failed, see `systemctl list-dependencies {name}` in the guest"
            )),
            "timeout" => Some(format!("{name} was not started in time")),
            "assert" | "unsupported" | "invalid" => Some(format!(
                "{name} was not started: systemd says {result}, see `systemctl status {name}` in the guest"
            )),
            _ => None,
        };
    }

    /// Folds an answer of systemd.
    pub(super) fn handle_status(&mut self, status: &Status, now: Instant) -> Verdict {
        let name = &self.name;
        match status.load {
            Load::Loaded => {}
            Load::NotFound => {
                let detail = format!(
                    "there is no unit {name}: install k3s in the guest, or name its unit with --k3s-unit"
                );
                return Verdict::Absent { detail };
            }
            Load::Masked => {
                return Verdict::Failed {
                    error: format!("{name} is masked: run `systemctl unmask {name}` in the guest"),
                    ended: false,
                };
            }
            Load::Broken => {
                return Verdict::Failed {
                    error: format!(
                        "systemd cannot load {name}: see `systemctl status {name}` in the guest"
                    ),
                    ended: false,
                };
            }
        }
        self.count_ends(status, now);
        self.judge(status, now)
    }

    /// The API was ready: what went wrong before does not count any more. True when that ended a
    /// crash loop.
    pub(super) fn handle_api_ready(&mut self) -> bool {
        let was_looping = self.policy.in_crash_loop();
        self.policy.handle_api_ready();
        was_looping && !self.policy.in_crash_loop()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.policy.poll_timeout()
    }

    /// Time has passed. True when that ended a crash loop.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let was_looping = self.policy.in_crash_loop();
        self.policy.handle_timeout(now);
        was_looping && !self.policy.in_crash_loop()
    }

    /// It was asked to stop or to start anew: a fresh start.
    pub(super) fn handle_reset(&mut self) {
        self.policy.handle_reset();
        self.main_pid = None;
        self.refused = None;
    }

    /// Restarts so far that were not asked for.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts.unwrap_or(0)
    }

    /// The count of restarts says of ends that nobody saw. An end that waits for its restart counts
    /// before systemd counts it.
    fn count_ends(&mut self, status: &Status, now: Instant) {
        let ends = status
            .restarts
            .saturating_add(u32::from(status.waits_for_restart()));
        let before = match self.restarts {
            Some(restarts) if restarts <= status.restarts => self.ends,
            // Counted from the beginning again, by a start that was asked for.
            Some(_) => 0,
            // What was before us counts only as the end that is there now.
            None => status.restarts,
        };
        for _ in before..ends.min(before.saturating_add(8)) {
            if self.main_pid.is_none() {
                self.policy.handle_started(now);
            }
            self.main_pid = None;
            self.policy.handle_exited(now);
        }
        self.ends = before.max(ends);
        self.restarts = Some(status.restarts);
        if status.exit.is_some() || status.active == State::Failed {
            self.last_exit = status.exit_text();
        }
    }

    fn judge(&mut self, status: &Status, now: Instant) -> Verdict {
        let name = &self.name;
        match (status.active, status.main_pid) {
            (State::Active | State::Activating, Some(pid)) => {
                self.refused = None;
                if self.main_pid != Some(pid) {
                    self.main_pid = Some(pid);
                    self.policy.handle_started(now);
                }
                self.unless_looping(Verdict::Running { pid })
            }
            (State::Active, None) => Verdict::Failed {
                error: format!("{name} is active but has no main process: it is no service of k3s"),
                ended: false,
            },
            (State::Activating, None) if status.waits_for_restart() => {
                let status = self.last_exit.clone();
                let restarts = self.restarts();
                self.unless_looping(Verdict::Exited { status, restarts })
            }
            (State::Activating, None) => self.unless_looping(Verdict::Starting),
            (State::Deactivating, _) => {
                let detail = format!("{name} is stopping");
                self.unless_looping(Verdict::Absent { detail })
            }
            (State::Inactive, _) if status.has_job => Verdict::Starting,
            (State::Inactive, _) if self.refused.is_some() => Verdict::Failed {
                error: self.refused.clone().unwrap_or_default(),
                ended: false,
            },
            (State::Inactive, _) => {
                let detail = if status.skipped {
                    format!("{name} was not started: a condition of the unit does not hold yet")
                } else {
                    format!("{name} is not started")
                };
                self.handle_reset();
                Verdict::Absent { detail }
            }
            (State::Failed, _) => {
                self.main_pid = None;
                if status.result == START_LIMIT || self.policy.in_crash_loop() {
                    return self.crash_loop();
                }
                Verdict::Failed {
                    error: format!("{name} failed: {}", self.last_exit),
                    ended: true,
                }
            }
        }
    }

    /// A start alone does not end a crash loop.
    fn unless_looping(&self, verdict: Verdict) -> Verdict {
        if self.policy.in_crash_loop() {
            self.crash_loop()
        } else {
            verdict
        }
    }

    fn crash_loop(&self) -> Verdict {
        Verdict::CrashLoop {
            status: self.last_exit.clone(),
            restarts: self.restarts(),
        }
    }
}

#[cfg(test)]
mod tests;
