use std::path::Path;

use super::*;

/// What systemd 252 answered for a running service, with other values for some properties.
pub(super) fn show(changes: &[(&str, &str)]) -> String {
    const RECORDED: &str = "\
MainPID=60
Result=success
NRestarts=0
ExecMainCode=0
ExecMainStatus=0
ExecStart={ path=/usr/local/bin/k3s ; argv[]=/usr/local/bin/k3s server ; ignore_errors=no ; start_time=[Sat 2026-11-21 11:37:46 UTC] ; stop_time=[n/a] ; pid=60 ; code=(null) ; status=0/0 }
LoadState=loaded
ActiveState=active
SubState=running
Job=
ConditionResult=yes
ConditionTimestampMonotonic=5071822
";
    let with = |line: &str| {
        let name = line.split('=').next().unwrap();
        match changes.iter().find(|(changed, _)| *changed == name) {
            Some((_, value)) => format!("{name}={value}\n"),
            None => format!("{line}\n"),
        }
    };
    RECORDED.lines().map(with).collect()
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
    assert_eq!(unit.tool("systemctl"), Path::new("systemctl"));
    assert_eq!(
        unit.with_tools("/opt").tool("systemctl"),
        Path::new("/opt/systemctl")
    );
}
