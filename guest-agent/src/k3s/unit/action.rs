//! What to have systemd do so that k3s runs with its configuration. Pure.

use super::status::{Load, State, Status};

/// Something that may take several jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It runs, or will, with what is there; or there is nothing to start.
    Nothing,
    /// It does not run.
    Start,
    /// It was given up after too many starts, which has to be forgotten first.
    StartAnew,
    /// It runs with what was there before.
    Restart,
}

/// What a unit needs that stood so before the configuration was written. `is_due` says that the
/// process that runs has not seen the configuration.
pub(super) fn action(before: &Status, is_due: bool) -> Action {
    match (before.load, before.active) {
        (Load::NotFound | Load::Masked | Load::Broken, _) => Action::Nothing,
        (Load::Loaded, State::Inactive | State::Deactivating) => Action::Start,
        (Load::Loaded, State::Failed) => Action::StartAnew,
        // What waits to be started again comes at once.
        (Load::Loaded, State::Activating) if before.waits_for_restart() => Action::Restart,
        (Load::Loaded, State::Active | State::Activating) if is_due => Action::Restart,
        (Load::Loaded, State::Active | State::Activating) => Action::Nothing,
    }
}

impl Action {
    /// One after the other. Nothing waits for k3s: its start takes as long as its API.
    pub(super) const fn jobs(self) -> &'static [Job] {
        match self {
            Self::Nothing => &[],
            Self::Start => &[Job::Start],
            Self::StartAnew => &[Job::Forget, Job::Start],
            Self::Restart => &[Job::Restart],
        }
    }
}

/// One thing that systemd does with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Start,
    /// Only if it runs.
    Restart,
    Stop,
    /// Its failures.
    Forget,
    /// All its processes, at once.
    Kill,
}

impl Job {
    /// After "systemd does not".
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Forget => "forget the failures of",
            Self::Kill => "kill",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_state() {
        use State::{Activating, Deactivating, Failed, Inactive};
        for (load, active, sub, is_due, expected) in [
            (Load::NotFound, Inactive, "dead", true, Action::Nothing),
            (Load::Masked, Inactive, "dead", true, Action::Nothing),
            (Load::Broken, Inactive, "dead", true, Action::Nothing),
            (Load::Loaded, Inactive, "dead", false, Action::Start),
            (Load::Loaded, Inactive, "dead", true, Action::Start),
            (
                Load::Loaded,
                Deactivating,
                "stop-sigterm",
                false,
                Action::Start,
            ),
            (Load::Loaded, Failed, "failed", false, Action::StartAnew),
            (
                Load::Loaded,
                State::Active,
                "running",
                false,
                Action::Nothing,
            ),
            (
                Load::Loaded,
                State::Active,
                "running",
                true,
                Action::Restart,
            ),
            (Load::Loaded, Activating, "start", false, Action::Nothing),
            (Load::Loaded, Activating, "start", true, Action::Restart),
            (
                Load::Loaded,
                Activating,
                "auto-restart",
                false,
                Action::Restart,
            ),
        ] {
            let before = Status {
                load,
                active,
                sub: sub.to_owned(),
                ..Status::default()
            };
            assert_eq!(action(&before, is_due), expected, "{before:?} {is_due}");
        }
    }
}
