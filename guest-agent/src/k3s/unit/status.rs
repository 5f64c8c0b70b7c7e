//! What `systemctl show` says of a unit, typed. Pure.

use std::path::PathBuf;

/// The properties that are asked for, for `systemctl show --property`.
pub(super) const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,ConditionResult,\
ConditionTimestampMonotonic,NRestarts,ExecMainCode,ExecMainStatus,MainPID,Job,ExecStart";

/// Where a unit stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Status {
    pub(super) load: Load,
    pub(super) active: State,
    /// The state within the state of services, `auto-restart`.
    pub(super) sub: String,
    /// How the service ended last, `success` or `exit-code`.
    pub(super) result: String,
    /// Whether the last start was skipped because a condition of the unit did not hold.
    pub(super) skipped: bool,
    /// Restarts by systemd since the last start that was asked for.
    pub(super) restarts: u32,
    /// How the main process ended, none while it runs or when it never did.
    pub(super) exit: Option<MainExit>,
    /// The main process.
    pub(super) main_pid: Option<u32>,
    /// Whether a start or stop is queued.
    pub(super) has_job: bool,
    /// The program of `ExecStart=`.
    pub(super) program: Option<PathBuf>,
}

/// Whether there is such a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Load {
    Loaded,
    #[default]
    NotFound,
    Masked,
    /// Its file is not acceptable.
    Broken,
}

/// Its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    /// Running, or reloading its configuration.
    Active,
    Activating,
    Deactivating,
    Failed,
    #[default]
    Inactive,
}

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MainExit {
    Exited(i32),
    Killed(i32),
    Dumped(i32),
}

impl Status {
    /// From lines of `Name=value`. None when they are not about a unit at all; a value that is not
    /// understood counts as not given.
    pub(super) fn parse(output: &str) -> Option<Self> {
        let value = |name: &str| {
            output
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .map(str::trim)
        };
        let number = |name| value(name)?.parse::<u32>().ok();
        let skipped = value("ConditionResult") == Some("no")
            && value("ConditionTimestampMonotonic").is_some_and(|at| !matches!(at, "" | "0"));
        Some(Self {
            load: load(value("LoadState")?),
            active: active(value("ActiveState")?),
            sub: value("SubState").unwrap_or_default().to_owned(),
            result: value("Result").unwrap_or_default().to_owned(),
            skipped,
            restarts: number("NRestarts").unwrap_or(0),
            exit: exit(number("ExecMainCode"), number("ExecMainStatus")),
            main_pid: number("MainPID").filter(|pid| *pid > 1),
            has_job: value("Job").is_some_and(|job| !matches!(job, "" | "0")),
            program: value("ExecStart").and_then(program),
        })
    }

    /// Whether it ended and systemd will start it again after a pause.
    pub(super) fn waits_for_restart(&self) -> bool {
        self.active == State::Activating && self.sub == "auto-restart"
    }

    /// How it ended, in the words that std has for an exit status.
    pub(super) fn exit_text(&self) -> String {
        let exit = match self.exit {
            Some(MainExit::Exited(status)) => format!("exit status: {status}"),
            Some(MainExit::Killed(signal)) => format!("signal: {signal}"),
            Some(MainExit::Dumped(signal)) => format!("signal: {signal} (core dumped)"),
            None => String::new(),
        };
        match (self.result.as_str(), exit.is_empty()) {
            ("" | "success" | "exit-code" | "signal" | "core-dump", false) => exit,
            ("" | "success", true) => "exit status unknown".to_owned(),
            (result, true) => result.to_owned(),
            (result, false) => format!("{exit}, {result}"),
        }
    }
}

fn load(text: &str) -> Load {
    match text {
        "not-found" => Load::NotFound,
        "masked" => Load::Masked,
        "bad-setting" | "error" => Load::Broken,
        _ => Load::Loaded,
    }
}

fn active(text: &str) -> State {
    match text {
        "active" | "reloading" | "refreshing" => State::Active,
        "activating" => State::Activating,
        "deactivating" => State::Deactivating,
        "failed" => State::Failed,
        _ => State::Inactive,
    }
}

/// The codes are those of waitid(2): exited, killed, dumped.
fn exit(code: Option<u32>, status: Option<u32>) -> Option<MainExit> {
    let status = i32::try_from(status?).ok()?;
    match code? {
        1 => Some(MainExit::Exited(status)),
        2 => Some(MainExit::Killed(status)),
        3 => Some(MainExit::Dumped(status)),
        _ => None,
    }
}

/// `{ path=/usr/bin/k3s ; argv[]=/usr/bin/k3s server ; … }`
fn program(text: &str) -> Option<PathBuf> {
    let (_, rest) = text.split_once("path=")?;
    let (path, _) = rest.split_once(" ;")?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(changes: &[(&str, &str)]) -> String {
        crate::k3s::unit::tests::show(changes)
    }

    #[test]
    fn recorded_answers() {
        let running = Status::parse(&recorded(&[])).unwrap();
        assert_eq!(
            running,
            Status {
                load: Load::Loaded,
                active: State::Active,
                sub: "running".to_owned(),
                result: "success".to_owned(),
                skipped: false,
                restarts: 0,
                exit: None,
                main_pid: Some(60),
                has_job: false,
                program: Some("/usr/local/bin/k3s".into()),
            }
        );
        let ended = Status::parse(&recorded(&[
            ("MainPID", "0"),
            ("Result", "exit-code"),
            ("NRestarts", "2"),
            ("ExecMainCode", "1"),
            ("ExecMainStatus", "3"),
            ("ActiveState", "activating"),
            ("SubState", "auto-restart"),
            ("Job", "117"),
        ]))
        .unwrap();
        assert_eq!(ended.active, State::Activating);
        assert_eq!(ended.exit, Some(MainExit::Exited(3)));
        assert_eq!((ended.main_pid, ended.restarts), (None, 2));
        assert!(ended.has_job);
    }

    #[test]
    fn a_condition_counts_once_it_was_looked_at() {
        for (result, at, skipped) in [
            ("no", "0", false),
            ("no", "", false),
            ("no", "7221", true),
            ("yes", "7221", false),
        ] {
            let text = recorded(&[
                ("ConditionResult", result),
                ("ConditionTimestampMonotonic", at),
            ]);
            assert_eq!(
                Status::parse(&text).unwrap().skipped,
                skipped,
                "{result} {at}"
            );
        }
    }

    #[test]
    fn ends_in_words() {
        for (result, exit, text) in [
            ("exit-code", Some(MainExit::Exited(3)), "exit status: 3"),
            ("success", Some(MainExit::Exited(0)), "exit status: 0"),
            ("signal", Some(MainExit::Killed(9)), "signal: 9"),
            (
                "core-dump",
                Some(MainExit::Dumped(11)),
                "signal: 11 (core dumped)",
            ),
            ("oom-kill", Some(MainExit::Killed(9)), "signal: 9, oom-kill"),
            ("start-limit-hit", None, "start-limit-hit"),
            ("success", None, "exit status unknown"),
        ] {
            let status = Status {
                result: result.to_owned(),
                exit,
                ..Status::default()
            };
            assert_eq!(status.exit_text(), text);
        }
    }

    #[test]
    fn nonsense() {
        for text in [
            "",
            "Failed to connect to bus: No such file",
            "LoadState=loaded",
        ] {
            assert_eq!(Status::parse(text), None, "{text}");
        }
        let odd = recorded(&[
            ("MainPID", "-4"),
            ("NRestarts", "99999999999999"),
            ("ExecMainCode", "x"),
            ("ExecStart", "{ path=relative ; argv[]= }"),
        ]);
        let odd = Status::parse(&odd).unwrap();
        assert_eq!((odd.main_pid, odd.restarts, odd.exit), (None, 0, None));
        assert_eq!(odd.program, None);
        for pid in ["0", "1"] {
            let text = recorded(&[("MainPID", pid)]);
            assert_eq!(Status::parse(&text).unwrap().main_pid, None, "never ours");
        }
    }
}
