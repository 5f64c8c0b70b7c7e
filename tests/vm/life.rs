//! A machine's whole life over AF_VSOCK. It is one test, since a boot takes most of a minute.

use lkc_tests::{eventually, find_program};
use nix::sys::signal::Signal;

use crate::{
    faults, inside,
    lab::{BOOT, CLUSTER, Carrier, Lab, report},
    reboot, resets, throughput, traffic,
};

#[test]
fn a_machine_lives_carries_everything_and_leaves_nothing() {
    let Some(lab) = Lab::new(Carrier::Vsock) else {
        return;
    };
    let took = lab.up();
    report(&format!("up to the rung node: {:.1} s", took.as_secs_f64()));
    report_timeline(&lab);
    what_is_said_of_it(&lab);

    traffic::large_transfer(&lab);
    traffic::many_connections(&lab);
    traffic::behaves_like_a_direct_connection(&lab);
    throughput::compare(&lab);

    a_killed_daemon_is_missed_by_nobody(&lab);
    a_snapshot_brings_everything_back(&lab);
    faults::power_off_in_a_transfer(&lab);
    resets::in_a_row(&lab);
    reboot::keeps_what_it_was_given(&lab);
    inside::dials_by_vsock(&lab);

    lab.env.run(&["delete", "--yes"]).succeeds();
    lab.env.run(&["daemon", "stop"]).succeeds();
    assert!(!lab.env.cluster_dir(CLUSTER).exists());
    lab.env.nothing_is_left();
}

fn report_timeline(lab: &Lab) {
    let status = lab.status();
    for step in status["steps"].as_array().unwrap() {
        if let Some(after) = step["ready_after_ms"].as_u64() {
            report(&format!(
                "{}: after {after} ms, {}",
                step["name"], step["detail"]
            ));
        }
    }
}

fn what_is_said_of_it(lab: &Lab) {
    let status = lab.status();
    let machine = status["machine"].to_string();
    assert!(machine.contains("vsock by vhost-device-vsock"), "{machine}");
    // The hypervisor of a machine that tests run on may work or not; either is said.
    assert!(
        machine.contains("KVM") || machine.contains("software emulation"),
        "{machine}"
    );
    let carrier = status["link"]["carrier"].to_string();
    assert!(carrier.contains("hybrid:"), "{carrier}");
    assert!(lab.console().contains("systemd"), "{}", lab.console());
    let qemu = lab.env.process_in(CLUSTER, "qemu-system-x86").unwrap();
    let line = qemu.command_line();
    for forbidden in ["hostfwd", "PRIVATE KEY", "io.systemd.credential"] {
        assert!(!line.contains(forbidden), "{forbidden} in {line}");
    }
}

fn a_killed_daemon_is_missed_by_nobody(lab: &Lab) {
    let machine = lab.env.machine(CLUSTER);
    lab.env.daemon().signal(Signal::SIGKILL);
    lab.env.lkc(["up"]).within(BOOT).run().succeeds();
    assert_eq!(lab.env.machine(CLUSTER), machine, "it was found and kept");
    traffic::many_connections(lab);
}

fn a_snapshot_brings_everything_back(lab: &Lab) {
    let snapshot = |args: &[&str]| {
        lab.env
            .lkc([&["snapshot"], args].concat())
            .within(BOOT)
            .run()
    };
    snapshot(&["restore", "clean"])
        .exits(3)
        .explains("no snapshot is named clean");
    let before = lab.connects();
    snapshot(&["save", "clean"]).succeeds();
    lab.linked_again(before);
    snapshot(&["save", "clean"]).exits(7);
    snapshot(&["list"]).succeeds().prints("clean");

    let has_kubectl = find_program("kubectl").is_some();
    let kubectl = |args: &[&str]| lab.env.kubectl(CLUSTER, args).within(BOOT).run();
    if has_kubectl {
        ready(lab);
        kubectl(&["create", "configmap", "after-the-snapshot"]).succeeds();
    }
    let before = lab.connects();
    let since = std::time::Instant::now();
    snapshot(&["restore", "clean"]).succeeds();
    let back = lab.linked_again(before);
    report(&format!(
        "link back after a restored snapshot: {:.1} s",
        back.duration_since(since).as_secs_f64()
    ));
    if has_kubectl {
        ready(lab);
        let gone = kubectl(&["get", "configmap", "after-the-snapshot"]);
        gone.exits(1).explains("not found");
    }
    traffic::large_transfer(lab);
    snapshot(&["delete", "clean"]).succeeds();
    snapshot(&["list", "--output", "json"])
        .succeeds()
        .prints("[]");
}

/// Waits until the node is Ready.
pub(crate) fn ready(lab: &Lab) {
    lab.env
        .lkc(["wait", "--for", "node", "--timeout", "2m"])
        .within(BOOT)
        .run()
        .succeeds();
    eventually("the API answers through its forward", BOOT, || {
        let nodes = lab.env.run(&["kubectl", "get", "nodes"]);
        (nodes.exit_code() == 0).then_some(())
    });
}
