use std::path::Path;

use super::status::{Load, MainExit, State, Status};
use super::*;

/// Where a service stands that runs, with some of systemd's properties changed.
pub(super) fn standing(changes: &[(&str, &str)]) -> Status {
    let mut status = Status {
        load: Load::Loaded,
        active: State::Active,
        sub: "running".to_owned(),
        result: "success".to_owned(),
        main_pid: Some(60),
        program: Some("/usr/local/bin/k3s".into()),
        ..Status::default()
    };
    let number = |text: &str| text.parse::<u32>().unwrap();
    for (name, value) in changes {
        match *name {
            "LoadState" => {
                status.load = match *value {
                    "not-found" => Load::NotFound,
                    "masked" => Load::Masked,
                    "bad-setting" => Load::Broken,
                    _ => Load::Loaded,
                }
            }
            "ActiveState" => {
                status.active = match *value {
                    "active" => State::Active,
                    "activating" => State::Activating,
                    "deactivating" => State::Deactivating,
                    "failed" => State::Failed,
                    _ => State::Inactive,
                }
            }
            "SubState" => status.sub = (*value).to_owned(),
            "Result" => status.result = (*value).to_owned(),
            "ConditionResult" => status.skipped = *value == "no",
            "NRestarts" => status.restarts = number(value),
            "Exited" => status.exit = Some(MainExit::Exited(value.parse().unwrap())),
            "Killed" => status.exit = Some(MainExit::Killed(value.parse().unwrap())),
            "MainPID" => status.main_pid = Some(number(value)).filter(|pid| *pid > 1),
            "Job" => status.has_job = number(value) > 0,
            "ExecStart" => status.program = Some(value.into()),
            other => panic!("{other}"),
        }
    }
    status
}

#[test]
fn names() {
    for (text, name) in [
        ("k3s", "k3s.service"),
        ("k3s.service", "k3s.service"),
        ("k3s-agent.service", "k3s-agent.service"),
        ("k3s@two", "k3s@two.service"),
        ("k3s.socket", "k3s.socket.service"),
    ] {
        assert_eq!(text.parse::<Unit>().unwrap().to_string(), name);
    }
    let long = "x".repeat(250);
    for text in [
        "",
        "-H",
        "--help",
        ".service",
        "a b",
        "a/b",
        "k3s;x",
        long.as_str(),
    ] {
        assert!(text.parse::<Unit>().is_err(), "{text}");
    }
}

#[test]
fn tools_come_from_path_unless_a_directory_is_given() {
    let unit: Unit = "k3s".parse().unwrap();
    assert_eq!(unit.tool("journalctl"), Path::new("journalctl"));
    assert_eq!(
        unit.with_tools("/opt").tool("journalctl"),
        Path::new("/opt/journalctl")
    );
}
