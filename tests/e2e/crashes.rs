//! Parts that die, and what the others make of it.

use std::time::Duration;

use lkc_tests::{TestEnv, eventually, process::Process};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PROGRAMS, env_with_cluster, has_kubectl, next_second, step};

/// How long what was killed may take until it is back.
const BACK: Duration = Duration::from_secs(20);

#[test]
fn a_daemon_that_is_killed_is_missed_by_nobody() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let before = parts(&env);
    let since = ready_since(&env);
    let watch = env.kubectl("k3s-dev", ["get", "nodes", "--watch"]).spawn();
    watch.stdout_until("it shows the node", |text| text.contains(" Ready "));
    env.daemon().signal(Signal::SIGKILL);
    // Its forwards are gone with it.
    let _ = watch.finish();
    assert!(before.machine.is_alive() && before.agent.is_alive() && before.k3s.is_alive());

    // The next command, whichever it is, starts it again.
    env.run(&["kubectl", "get", "nodes"])
        .succeeds()
        .prints(" Ready ");
    env.kubectl("k3s-dev", ["get", "nodes"]).run().succeeds();
    env.run(&["up"]).succeeds().prints("nothing to do");
    assert_eq!(parts(&env), before, "nothing was restarted");
    assert_eq!(ready_since(&env), since, "the node was Ready all the time");

    env.daemon().signal(Signal::SIGKILL);
    env.run(&["delete", "--yes"]).succeeds();
    env.run(&["daemon", "stop"]).succeeds();
    env.nothing_is_left();
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_of_up_is_continued_by_the_next() {
    if !has_kubectl() {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&["simulate-ready-delay = \"1s\""]);
    let up = env.lkc(["up"]).spawn();
    up.stderr_until("k3s has started", |text| text.contains("✓ k3s"));
    let machine = env.machine("k3s-dev");
    env.daemon().signal(Signal::SIGKILL);
    up.finish().exits(4).explains("hint: ");
    env.run(&["up"]).succeeds().prints("is up");
    assert_eq!(env.machine("k3s-dev"), machine, "it was found and kept");
    env.run(&["kubectl", "get", "nodes"])
        .succeeds()
        .prints(" Ready ");
}

#[test]
fn a_daemon_that_is_stopped_leaves_the_cluster_alone() {
    let env = env_with_cluster(&[]);
    let before = parts(&env);
    env.run(&["daemon", "stop"]).succeeds();
    env.run(&["daemon", "status"]).exits(3);
    assert!(before.k3s.is_alive());
    env.run(&["wait", "--for", "node", "--timeout", "30s"])
        .succeeds();
    assert_eq!(env.status("k3s-dev")["phase"], "up");
    assert_eq!(parts(&env), before);
}

#[test]
fn an_agent_that_is_killed_comes_back_and_finds_k3s() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let before = parts(&env);
    before.agent.signal(Signal::SIGKILL);
    let agent = eventually("another agent runs", BACK, || {
        env.process_in("k3s-dev", "lkc-guest")
            .filter(|agent| *agent != before.agent)
    });
    // Parked until it is there, then served.
    env.kubectl("k3s-dev", ["get", "nodes"])
        .run()
        .succeeds()
        .prints(" Ready ");
    env.run(&["wait", "--for", "node", "--timeout", "30s"])
        .succeeds();
    let after = parts(&env);
    assert_eq!((&after.machine, &after.k3s), (&before.machine, &before.k3s));
    assert_eq!(after.agent, agent);
    assert_eq!(env.status("k3s-dev")["link"]["connects"], 2);
}

#[test]
fn a_k3s_that_is_killed_falls_down_the_ladder_and_climbs_it_again() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let before = parts(&env);
    let watch = env
        .lkc(["status", "k3s-dev", "--watch", "--output", "json"])
        .spawn();
    let told = |text: &str, wanted: &dyn Fn(&Value) -> bool| {
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let lines = complete
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect(line));
        lines
            .map(|line| line.get("cluster").cloned().unwrap_or(line))
            .any(|status| wanted(&status))
    };
    let ready = |name: &'static str| move |status: &Value| step(status, name)["state"] == "ready";
    watch.stdout_until("the node is ready", |text| told(text, &ready("node")));
    next_second();
    before.k3s.signal(Signal::SIGKILL);
    watch.stdout_until("the node is not ready any more", |text| {
        told(text, &|status| {
            step(status, "node")["state"] != "ready" && step(status, "api")["state"] != "ready"
        })
    });
    let k3s = eventually("another k3s runs", BACK, || {
        env.process_in("k3s-dev", "k3s")
            .filter(|k3s| *k3s != before.k3s)
    });
    env.run(&["wait", "--for", "node", "--timeout", "30s"])
        .succeeds();
    env.kubectl("k3s-dev", ["get", "nodes"])
        .run()
        .succeeds()
        .prints(" Ready ");
    let after = parts(&env);
    assert_eq!(
        (&after.machine, &after.agent),
        (&before.machine, &before.agent)
    );
    assert_eq!(after.k3s, k3s);
    assert_eq!(env.status("k3s-dev")["k3s"]["restarts"], 1);
}

#[test]
fn a_machine_that_is_killed_is_failed_until_the_next_up() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let machine = env.machine("k3s-dev");
    next_second();
    machine.signal(Signal::SIGKILL);
    let status = eventually("the cluster has failed", BACK, || {
        Some(env.status("k3s-dev")).filter(|status| status["phase"] == "failed")
    });
    assert_eq!(status["machine"]["running"], false);
    assert_eq!(step(&status, "sandbox")["state"], "failed");
    assert_ne!(step(&status, "node")["state"], "ready");
    env.run(&["up"]).succeeds();
    assert_ne!(env.machine("k3s-dev"), machine);
    env.run(&["kubectl", "get", "nodes"])
        .succeeds()
        .prints(" Ready ");
}

/// Everything at once, as a power cut that spares the kernel.
#[test]
fn a_host_on_which_everything_was_killed_continues_with_up() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let machine = env.machine("k3s-dev");
    next_second();
    env.daemon().signal(Signal::SIGKILL);
    machine.signal(Signal::SIGKILL);
    eventually("the machine is gone", BACK, || {
        (!machine.is_alive()).then_some(())
    });
    env.run(&["up"]).succeeds().prints("is up after");
    env.run(&["kubectl", "get", "nodes"])
        .succeeds()
        .prints(" Ready ");
}

/// The processes of a cluster.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    machine: Process,
    agent: Process,
    k3s: Process,
}

#[track_caller]
fn parts(env: &TestEnv) -> Parts {
    let find = |name: &str| {
        env.process_in("k3s-dev", name)
            .unwrap_or_else(|| panic!("no {name} runs"))
    };
    Parts {
        machine: env.machine("k3s-dev"),
        agent: find("lkc-guest"),
        k3s: find("k3s"),
    }
}

#[track_caller]
fn ready_since(env: &TestEnv) -> String {
    let path = "jsonpath={.items[0].status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";
    let outcome = env.run(&["kubectl", "get", "nodes", "-o", path]).succeeds();
    assert!(outcome.stdout.ends_with('Z'), "{outcome}");
    outcome.stdout.clone()
}
