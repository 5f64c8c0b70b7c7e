//! Both programs end to end: real binaries, a real sandbox, a simulated k3s, a stock kubectl.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lkc_tests::{Programs, TestEnv, User, eventually, find_program, skipped};

mod adopt;
mod behaviours;
mod cni;
mod commands;
mod crashes;
mod datagrams;
mod exec;
mod forwards;
mod hostile;
mod lifecycle;
mod refusals;
mod reverse;
mod rotation;
mod secrets;
mod socks;
mod ssh;
mod terminal;
mod two_clusters;
mod unix_sockets;
mod virtual_machines;
mod waiting;

/// The programs under test.
const PROGRAMS: Programs = Programs {
    host: env!("CARGO_BIN_EXE_tested-lkc-host"),
    guest: env!("CARGO_BIN_EXE_tested-lkc-guest"),
    simulator: env!("CARGO_BIN_EXE_k3s-simulator"),
};

/// An environment with one cluster, `k3s-dev`, that is up.
fn env_with_cluster(settings: &[&str]) -> TestEnv {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(settings);
    env.run(&["up"]).succeeds().prints("Cluster k3s-dev is up");
    env
}

/// A rung of a status.
#[track_caller]
fn step<'a>(status: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let steps = status["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["name"] == name);
    step.unwrap_or_else(|| panic!("no step {name} in {status:#}"))
}

/// Lines that a progress printed about what is done; what is under way depends on the machine.
fn done_lines(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| line.contains('✓'));
    lines.collect::<Vec<_>>().join("\n")
}

/// Waits until the node that never becomes Ready has said why for the last time.
fn node_has_said_why(env: &TestEnv) {
    eventually("the node has said why", Duration::from_secs(30), || {
        let status = env.status("k3s-dev");
        let detail = step(&status, "node")["detail"].as_str();
        detail?.contains("cni plugin not initialized").then_some(())
    });
}

/// Waits until the second is over. Kubernetes has whole seconds, so a node that was Ready in the
/// last one cannot be told from one that is Ready again in this one; no real k3s starts that fast.
fn next_second() {
    let second = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("a time after 1970").as_secs()
    };
    let now = second();
    eventually("the second is over", Duration::from_secs(5), || {
        (second() != now).then_some(())
    });
}

/// Whether there is a kubectl; says that the test is skipped if not.
fn has_kubectl() -> bool {
    let found = find_program("kubectl").is_some();
    if !found {
        skipped("there is no kubectl on PATH");
    }
    found
}

/// Whether the user may make a sandbox here; says that the test is skipped if not.
fn can_be(user: User) -> bool {
    user.is_available()
}
