use std::time::Duration;

use super::*;
use crate::k3s::unit::tests::standing;

/// Changes to the recorded answer of a running unit.
type Changes = &'static [(&'static str, &'static str)];

const NOT_STARTED: Changes = &[
    ("MainPID", "0"),
    ("ActiveState", "inactive"),
    ("SubState", "dead"),
];

struct Bench {
    watch: UnitWatch,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self {
            watch: UnitWatch::new("k3s.service".to_owned()),
            now: Instant::now(),
        }
    }

    fn hear(&mut self, after_ms: u64, changes: &[(&str, &str)]) -> Verdict {
        self.now += Duration::from_millis(after_ms);
        self.watch.handle_status(&standing(changes), self.now)
    }

    /// It ended and waits for its restart.
    fn hear_end(&mut self, after_ms: u64, restarts: u32) -> Verdict {
        let restarts = restarts.to_string();
        self.hear(
            after_ms,
            &[
                ("MainPID", "0"),
                ("Result", "exit-code"),
                ("NRestarts", &restarts),
                ("Exited", "3"),
                ("ActiveState", "activating"),
                ("SubState", "auto-restart"),
            ],
        )
    }

    fn hear_running(&mut self, after_ms: u64, restarts: u32) -> Verdict {
        let (pid, restarts) = ((60 + restarts).to_string(), restarts.to_string());
        self.hear(after_ms, &[("MainPID", &pid), ("NRestarts", &restarts)])
    }
}

fn absent(detail: &str) -> Verdict {
    Verdict::Absent {
        detail: detail.to_owned(),
    }
}

fn exited(status: &str, restarts: u32) -> Verdict {
    Verdict::Exited {
        status: status.to_owned(),
        restarts,
    }
}

fn crash_loop(status: &str, restarts: u32) -> Verdict {
    Verdict::CrashLoop {
        status: status.to_owned(),
        restarts,
    }
}

#[test]
fn one_answer() {
    let failed = |error: &str, ended| Verdict::Failed {
        error: error.to_owned(),
        ended,
    };
    let table: [(Changes, Verdict); 13] = [
        (&[], Verdict::Running { pid: 60 }),
        (
            &[("ActiveState", "activating"), ("SubState", "start")],
            Verdict::Running { pid: 60 },
        ),
        (
            &[
                ("ActiveState", "activating"),
                ("SubState", "start-pre"),
                ("MainPID", "0"),
            ],
            Verdict::Starting,
        ),
        (NOT_STARTED, absent("k3s.service is not started")),
        (
            &[
                ("MainPID", "0"),
                ("ActiveState", "inactive"),
                ("SubState", "dead"),
                ("ConditionResult", "no"),
            ],
            absent("k3s.service was not started: a condition of the unit does not hold yet"),
        ),
        (
            &[
                ("MainPID", "0"),
                ("ActiveState", "inactive"),
                ("SubState", "dead"),
                ("Job", "41"),
            ],
            Verdict::Starting,
        ),
        (
            &[
                ("ActiveState", "deactivating"),
                ("SubState", "stop-sigterm"),
            ],
            absent("k3s.service is stopping"),
        ),
        (
            &[
                ("LoadState", "not-found"),
                ("ActiveState", "inactive"),
                ("MainPID", "0"),
            ],
            absent(
                "there is no unit k3s.service: install k3s in the guest, or name its unit with --k3s-unit",
            ),
        ),
        (
            &[("LoadState", "masked"), ("ActiveState", "inactive")],
            failed(
                "k3s.service is masked: run `systemctl unmask k3s.service` in the guest",
                false,
            ),
        ),
        (
            &[("LoadState", "bad-setting"), ("ActiveState", "inactive")],
            failed(
                "systemd cannot load k3s.service: see `systemctl status k3s.service` in the guest",
                false,
            ),
        ),
        (
            &[("MainPID", "0"), ("SubState", "exited")],
            failed(
                "k3s.service is active but has no main process: it is no service of k3s",
                false,
            ),
        ),
        (
            &[
                ("MainPID", "0"),
                ("ActiveState", "failed"),
                ("SubState", "failed"),
                ("Result", "signal"),
                ("Killed", "9"),
            ],
            failed("k3s.service failed: signal: 9", true),
        ),
        (
            &[
                ("MainPID", "0"),
                ("ActiveState", "failed"),
                ("SubState", "failed"),
                ("Result", "start-limit-hit"),
                ("NRestarts", "5"),
                ("Exited", "3"),
            ],
            crash_loop("exit status: 3, start-limit-hit", 5),
        ),
    ];
    for (changes, expected) in table {
        assert_eq!(Bench::new().hear(0, changes), expected, "{changes:?}");
    }
}

#[test]
fn quick_ends_are_a_crash_loop_until_it_runs_well() {
    let mut bench = Bench::new();
    bench.hear(0, NOT_STARTED);
    assert_eq!(bench.hear_running(100, 0), Verdict::Running { pid: 60 });
    assert_eq!(bench.hear_end(300, 0), exited("exit status: 3", 0));
    assert_eq!(
        bench.hear_end(300, 0),
        exited("exit status: 3", 0),
        "asked twice, it has not ended twice"
    );
    assert_eq!(bench.hear_running(700, 1), Verdict::Running { pid: 61 });
    assert_eq!(bench.hear_end(300, 1), exited("exit status: 3", 1));
    assert_eq!(bench.hear_running(1000, 2), Verdict::Running { pid: 62 });
    let looping = crash_loop("exit status: 3", 2);
    assert_eq!(bench.hear_end(300, 2), looping);
    assert_eq!(
        bench.hear_running(1000, 3),
        crash_loop("exit status: 3", 3),
        "a start alone proves nothing"
    );
    let at = bench.watch.poll_timeout().unwrap();
    assert!(bench.watch.handle_timeout(at));
    bench.now = at;
    assert_eq!(bench.hear_running(0, 3), Verdict::Running { pid: 63 });
}

#[test]
fn ends_that_nobody_saw_are_counted() {
    let mut bench = Bench::new();
    assert_eq!(bench.hear_running(0, 0), Verdict::Running { pid: 60 });
    let unseen = crash_loop("exit status unknown", 3);
    assert_eq!(bench.hear_running(1000, 3), unseen);
}

#[test]
fn a_past_before_the_agent_is_not_held_against_it() {
    let mut bench = Bench::new();
    assert_eq!(bench.hear_running(0, 900), Verdict::Running { pid: 960 });
    assert_eq!(bench.watch.restarts(), 900);
    assert_eq!(bench.hear_end(0, 900), exited("exit status: 3", 900));
}

#[test]
fn a_restart_on_request_is_no_end() {
    let mut bench = Bench::new();
    bench.hear_running(0, 0);
    for pid in ["70", "71", "72", "73"] {
        assert!(matches!(
            bench.hear(100, &[("MainPID", pid)]),
            Verdict::Running { .. }
        ));
    }
    // A start that is asked for has systemd count anew.
    bench.hear_end(100, 0);
    bench.hear_running(100, 1);
    assert_eq!(
        bench.hear(100, &[("MainPID", "80")]),
        Verdict::Running { pid: 80 }
    );
    assert_eq!(bench.hear_end(100, 0), exited("exit status: 3", 0));
}

#[test]
fn a_ready_api_or_a_stop_is_a_fresh_start() {
    let looping = || {
        let mut bench = Bench::new();
        for restarts in 0..3 {
            bench.hear_running(100, restarts);
            bench.hear_end(100, restarts);
        }
        assert!(matches!(
            bench.hear_running(100, 3),
            Verdict::CrashLoop { .. }
        ));
        bench
    };
    let mut bench = looping();
    assert!(bench.watch.handle_api_ready());
    assert!(!bench.watch.handle_api_ready());
    assert!(matches!(bench.hear_running(0, 3), Verdict::Running { .. }));
    let mut bench = looping();
    assert_eq!(
        bench.hear(0, NOT_STARTED),
        absent("k3s.service is not started")
    );
    assert!(matches!(
        bench.hear_running(100, 0),
        Verdict::Running { .. }
    ));
}

#[test]
fn a_start_that_was_refused_is_explained_until_it_runs() {
    let mut bench = Bench::new();
    let absent = absent("k3s.service is not started");
    assert_eq!(bench.hear(0, NOT_STARTED), absent);
    for (result, words) in [
        ("dependency", "a unit that it needs failed"),
        ("timeout", "in time"),
        ("assert", "systemd says assert"),
    ] {
        bench.watch.handle_job(result);
        let Verdict::Failed { error, ended } = bench.hear(1, NOT_STARTED) else {
            panic!("{result}");
        };
        assert!(error.contains(words) && !ended, "{error}");
    }
    bench.hear_running(1, 0);
    assert_eq!(bench.hear(1, NOT_STARTED), absent);
    for result in ["done", "canceled", "skipped"] {
        bench.watch.handle_job(result);
        assert_eq!(bench.hear(1, NOT_STARTED), absent, "{result}");
    }
}
