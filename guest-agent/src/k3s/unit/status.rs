//! What systemd's properties say of a unit, typed. Pure.

use std::path::PathBuf;

use zbus::{OwnedVariant, Variant};

use super::systemd::Properties;

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
    /// From the properties of a unit and those of a service. None when they are not about a unit at
    /// all; a value that is not understood counts as not given.
    pub(super) fn of(unit: &Properties, service: &Properties) -> Option<Self> {
        let skipped = unit.get("ConditionResult").and_then(as_bool) == Some(false)
            && number(unit, "ConditionTimestampMonotonic").is_some_and(|at| at > 0);
        let pid = number(service, "MainPID").and_then(|pid| u32::try_from(pid).ok());
        let restarts = number(service, "NRestarts").and_then(|count| u32::try_from(count).ok());
        Some(Self {
            load: load(text(unit, "LoadState")?),
            active: active(text(unit, "ActiveState")?),
            sub: text(unit, "SubState").unwrap_or_default().to_owned(),
            result: text(service, "Result").unwrap_or_default().to_owned(),
            skipped,
            restarts: restarts.unwrap_or(0),
            exit: exit(
                number(service, "ExecMainCode"),
                number(service, "ExecMainStatus"),
            ),
            main_pid: pid.filter(|pid| *pid > 1),
            has_job: unit.get("Job").and_then(job).is_some_and(|job| job > 0),
            program: service.get("ExecStart").and_then(program),
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
fn exit(code: Option<i128>, status: Option<i128>) -> Option<MainExit> {
    let status = i32::try_from(status?).ok()?;
    match code? {
        1 => Some(MainExit::Exited(status)),
        2 => Some(MainExit::Killed(status)),
        3 => Some(MainExit::Dumped(status)),
        _ => None,
    }
}

fn text<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    properties.get(name)?.try_into().ok()
}

fn as_bool(value: &OwnedVariant) -> Option<bool> {
    value.try_into().ok()
}

/// A number of whatever width.
fn number(properties: &Properties, name: &str) -> Option<i128> {
    let value = properties.get(name)?;
    let wide = u64::try_from(value).map(i128::from);
    let wide = wide.or_else(|_| u32::try_from(value).map(i128::from));
    wide.or_else(|_| i32::try_from(value).map(i128::from)).ok()
}

/// `(uo)`: the number of the job, 0 when there is none.
fn job(value: &OwnedVariant) -> Option<u32> {
    let job: &zbus::Structure<'_> = value.try_into().ok()?;
    match job.fields().first()? {
        Variant::U32(number) => Some(*number),
        _ => None,
    }
}

/// `a(sasb…)`: the program of the first command.
fn program(value: &OwnedVariant) -> Option<PathBuf> {
    let commands: &zbus::Array<'_> = value.try_into().ok()?;
    let Variant::Structure(command) = commands.inner().first()? else {
        return None;
    };
    let Variant::Str(path) = command.fields().first()? else {
        return None;
    };
    path.starts_with('/').then(|| PathBuf::from(path.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(values: Vec<(&str, Variant<'static>)>) -> Properties {
        let owned = |(name, value): (&str, Variant<'static>)| {
            (name.to_owned(), value.try_into_owned().unwrap())
        };
        values.into_iter().map(owned).collect()
    }

    fn job_of(number: u32) -> Variant<'static> {
        let path = zbus::ObjectPath::try_from("/").unwrap();
        Variant::new((number, path))
    }

    fn command(path: &str) -> Variant<'static> {
        let arguments = vec![path.to_owned(), "server".to_owned()];
        Variant::new(vec![(path.to_owned(), arguments, false)])
    }

    /// What systemd answers for a service that runs, with other values for some properties.
    fn told(changes: Vec<(&'static str, Variant<'static>)>) -> Option<Status> {
        let mut unit = properties(vec![
            ("LoadState", Variant::new("loaded")),
            ("ActiveState", Variant::new("active")),
            ("SubState", Variant::new("running")),
            ("ConditionResult", Variant::new(true)),
            ("ConditionTimestampMonotonic", Variant::new(5_071_822_u64)),
            ("Job", job_of(0)),
        ]);
        let mut service = properties(vec![
            ("Result", Variant::new("success")),
            ("NRestarts", Variant::new(0_u32)),
            ("ExecMainCode", Variant::new(0_i32)),
            ("ExecMainStatus", Variant::new(0_i32)),
            ("MainPID", Variant::new(60_u32)),
            ("ExecStart", command("/usr/local/bin/k3s")),
        ]);
        for (name, value) in changes {
            let of = if unit.contains_key(name) {
                &mut unit
            } else {
                &mut service
            };
            of.insert(name.to_owned(), value.try_into_owned().unwrap());
        }
        Status::of(&unit, &service)
    }

    #[test]
    fn answers() {
        assert_eq!(
            told(vec![]).unwrap(),
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
        let ended = told(vec![
            ("MainPID", Variant::new(0_u32)),
            ("Result", Variant::new("exit-code")),
            ("NRestarts", Variant::new(2_u32)),
            ("ExecMainCode", Variant::new(1_i32)),
            ("ExecMainStatus", Variant::new(3_i32)),
            ("ActiveState", Variant::new("activating")),
            ("SubState", Variant::new("auto-restart")),
            ("Job", job_of(117)),
        ])
        .unwrap();
        assert_eq!(ended.active, State::Activating);
        assert_eq!(ended.exit, Some(MainExit::Exited(3)));
        assert_eq!((ended.main_pid, ended.restarts), (None, 2));
        assert!(ended.has_job);
    }

    #[test]
    fn a_condition_counts_once_it_was_looked_at() {
        for (holds, at, skipped) in [
            (false, 0_u64, false),
            (false, 7221, true),
            (true, 7221, false),
        ] {
            let status = told(vec![
                ("ConditionResult", Variant::new(holds)),
                ("ConditionTimestampMonotonic", Variant::new(at)),
            ]);
            assert_eq!(status.unwrap().skipped, skipped, "{holds} {at}");
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
        let nothing = Properties::new();
        assert_eq!(Status::of(&nothing, &nothing), None);
        let odd = told(vec![
            ("MainPID", Variant::new("60")),
            ("NRestarts", Variant::new(99_999_999_999_999_u64)),
            ("ExecMainCode", Variant::new("x")),
            ("Job", Variant::new(true)),
            ("ExecStart", command("relative")),
        ])
        .unwrap();
        assert_eq!((odd.main_pid, odd.restarts, odd.exit), (None, 0, None));
        assert_eq!((odd.program, odd.has_job), (None, false));
        for pid in [0_u32, 1] {
            let status = told(vec![("MainPID", Variant::new(pid))]);
            assert_eq!(status.unwrap().main_pid, None, "never ours");
        }
    }
}
