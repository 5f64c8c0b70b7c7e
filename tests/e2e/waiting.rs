//! Waiting: joined, interrupted, over in time, failed at once.

use std::{
    thread,
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use lkc_tests::TestEnv;
use nix::sys::signal::Signal;

use crate::{PROGRAMS, has_kubectl, node_has_said_why, step};

/// A node that takes longer than any test waits.
const NEVER_READY: &str = "simulate-node-ready-delay = \"10m\"";

#[test]
fn a_second_up_joins_the_first() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&["simulate-ready-delay = \"1s\""]);
    let first = env.lkc(["up"]).spawn();
    first.stderr_until("the machine has started", |text| text.contains("✓ sandbox"));
    let machine = env.machine("k3s-dev");
    let second = env.lkc(["up"]).run().succeeds();
    let first = first.finish().succeeds();
    assert!(first.stdout.contains("is up after"), "{first}");
    assert!(second.stdout.contains("is up"), "{second}");
    assert_eq!(env.machine("k3s-dev"), machine, "there was one machine");
}

#[test]
fn an_interrupted_up_goes_on_without_its_watcher() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let env = TestEnv::new(PROGRAMS);
        env.configure_one(&["simulate-ready-delay = \"1s\""]);
        let up = env.lkc(["up"]).spawn();
        up.stderr_until("it waits for the API", |text| text.contains("… api"));
        up.signal(signal);
        let up = up.finish().exits(code);
        assert!(up.stderr.contains("the cluster goes on coming up"), "{up}");
        if signal == Signal::SIGINT {
            assert_snapshot!(up.stderr.lines().last().unwrap(), @"stopped waiting; the cluster goes on coming up (`lkc-host wait` waits for it)");
        }
        let wait = env
            .lkc(["wait", "--for", "node", "--timeout", "30s"])
            .run()
            .succeeds();
        assert!(wait.elapsed < Duration::from_secs(10), "{wait}");
    }
}

#[test]
fn a_timeout_names_the_rung_its_last_words_and_what_to_do() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[NEVER_READY]);
    env.run(&["up", "--wait", "registered"]).succeeds();
    node_has_said_why(&env);
    let wait = env
        .lkc(["wait", "--for", "node", "--timeout", "300ms"])
        .run()
        .exits(6);
    assert_snapshot!(wait.redacted_stderr(), @"
      ✓ sandbox    started TIME
      ✓ agent      lkc-guest 0.1.0, link up TIME
      ✓ network    192.100.0.10/24 on eth0 TIME
      ✓ k3s        running (simulated; no containers run) TIME
      ✓ api        /readyz ok TIME
      … node       KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized TIME
    error: k3s-dev did not reach node within TIME: node is progressing: KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized

    hint: `lkc-host kubectl --cluster k3s-dev get events -A` shows what the cluster does
    hint: `lkc-host wait k3s-dev --for node` goes on waiting: the cluster does not stop
    [EOF]
    ");
    let up = env
        .lkc(["up", "--timeout", "300ms", "--output", "json"])
        .run()
        .exits(6);
    let last = up.json_lines().pop().unwrap();
    assert_eq!(last["event"], "failed", "{up}");
    assert_eq!(last["error"]["code"], 6, "{up}");
    let object = env
        .lkc([
            "wait",
            "--for",
            "deployment/kube-system/nothing",
            "--timeout",
            "300ms",
        ])
        .run()
        .exits(6);
    assert_snapshot!(object.redacted_stderr(), @"
      ✓ sandbox    started TIME
      ✓ agent      lkc-guest 0.1.0, link up TIME
      ✓ network    192.100.0.10/24 on eth0 TIME
      ✓ k3s        running (simulated; no containers run) TIME
      ✓ api        /readyz ok TIME
      … deployment/kube-system/nothing no deployment kube-system/nothing yet TIME
    error: deployment/kube-system/nothing was not ready within TIME: no deployment kube-system/nothing yet

    hint: `lkc-host wait k3s-dev --for deployment/kube-system/nothing` goes on waiting: the cluster does not stop
    [EOF]
    ");
}

#[test]
fn a_crash_loop_fails_at_once_with_its_last_words() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&["simulate-fail = \"no space left on /var\""]);
    let up = env.lkc(["up"]).run().exits(12);
    assert!(up.elapsed < Duration::from_secs(20), "{up}");
    assert!(up.stderr.contains("no space left on /var"), "{up}");
    let wait = env.lkc(["wait", "--for", "node"]).run().exits(12);
    assert!(wait.stderr.contains("no space left on /var"), "{wait}");
    assert_eq!(step(&env.status("k3s-dev"), "k3s")["state"], "failed");
    // What was wrong is mended, and the same command continues.
    env.configure_one(&[]);
    env.run(&["up"]).succeeds().prints("is up");
}

#[test]
fn a_k3s_that_needs_a_second_start_is_waited_for() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&["simulate-fail = \"not yet\"", "simulate-fail-times = 1"]);
    env.run(&["up"]).succeeds();
    assert!(env.status("k3s-dev")["k3s"]["restarts"].as_u64() >= Some(1));
}

#[test]
fn an_object_that_does_not_exist_yet_is_waited_for() {
    if !has_kubectl() {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&["simulate-node-delay = \"1s\""]);
    let up = env.lkc(["up", "--wait", "none"]).run().succeeds();
    assert!(up.stdout.contains("is coming up"), "{up}");
    let wait = env
        .lkc(["wait", "--for", "deployment/kube-system/coredns"])
        .run()
        .succeeds();
    assert!(
        wait.stderr.contains("✓ deployment/kube-system/coredns"),
        "{wait}"
    );
    env.run(&["wait", "--for", "pods/kube-system?k8s-app=kube-dns"])
        .succeeds();
    let later = env
        .lkc(["wait", "--for", "configmap/default/later"])
        .spawn();
    later.stderr_until("it waits", |text| {
        text.contains("… configmap/default/later")
    });
    env.run(&["kubectl", "create", "configmap", "later"])
        .succeeds();
    let later = later.finish().succeeds();
    assert!(
        later.stderr.contains("✓ configmap/default/later"),
        "{later}"
    );
}

/// The bar is 50 ms; the assertion is loose, since the machine may be busy with other tests.
#[test]
fn a_wait_ends_soon_after_the_event() {
    if !has_kubectl() {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&["simulate-node-ready-delay = \"2s\""]);
    env.run(&["up", "--wait", "registered"]).succeeds();
    // What else watches the node through the same tunnel hears of it at the same time.
    let watch = env
        .lkc(["kubectl", "get", "nodes", "--watch", "--no-headers"])
        .spawn();
    watch.stdout_until("it watches", |text| text.contains("NotReady"));
    let wait = env
        .lkc(["wait", "--for", "node", "--timeout", "30s"])
        .spawn();
    let watching = thread::spawn(move || {
        watch.stdout_until("the node is Ready", |text| text.contains(" Ready "));
        Instant::now()
    });
    wait.finish().succeeds();
    let end = Instant::now();
    let event = watching.join().unwrap();
    let (late, early) = (
        end.saturating_duration_since(event),
        event.saturating_duration_since(end),
    );
    println!("wait ended {late:?} after kubectl's watch, or {early:?} before it");
    assert!(
        late < Duration::from_secs(1),
        "wait ended {late:?} after the event"
    );
}
