//! A machine with a virtio-serial port and nothing else, whose clock is hours behind.

use std::time::{Duration, Instant};

use lkc_tests::eventually;
use nix::sys::signal::Signal;

use crate::{
    faults,
    lab::{BEHIND, BOOT, CLUSTER, Carrier, Lab, report},
    throughput, traffic,
};

const HOUR_MS: i64 = 3_600_000;

/// What has hosts set the clock.
const SET_CLOCK: &str = include_str!("../../guest-agent/systemd/set-clock.conf");

/// Bytes of a transfer in each direction: many times what a port's buffers hold.
const SOME: usize = 4 * 1024 * 1024;

#[test]
fn a_serial_port_is_enough() {
    let Some(lab) = Lab::new(Carrier::Serial) else {
        return;
    };
    let took = lab.up();
    report(&format!("up by serial port: {:.1} s", took.as_secs_f64()));
    let status = lab.status();
    let carrier = status["link"]["carrier"].to_string();
    assert!(carrier.contains("serial:"), "{carrier}");
    the_clock_is_said_to_be_behind(&lab);
    traffic::transfer(&lab, SOME);
    traffic::many_connections(&lab);
    throughput::compare(&lab);

    a_host_that_comes_back_finds_the_line_as_it_was_left(&lab);
    let recovery = faults::reset_in_a_transfer(&lab);
    report(&format!(
        "serial link back after a reset: {:.1} s, {:.2} s after the agent listened",
        recovery.after_reset.as_secs_f64(),
        recovery.after_agent.as_secs_f64()
    ));
    traffic::transfer(&lab, SOME);
    the_clock_is_set_once_that_is_allowed(&lab);

    lab.env.run(&["delete", "--yes"]).succeeds();
    lab.env.run(&["daemon", "stop"]).succeeds();
    lab.env.nothing_is_left();
}

/// The link needs no clock that is right, but who looks at the cluster is told.
fn the_clock_is_said_to_be_behind(lab: &Lab) {
    // A busy guest does not say in time how it is.
    let skew = eventually("the guest says what time it is", BOOT, || {
        lab.status()["node"]["clock_skew_ms"].as_i64()
    });
    let behind = Duration::from_millis(u64::try_from(-skew).unwrap());
    assert!(
        behind.abs_diff(BEHIND) < Duration::from_secs(600),
        "{behind:?}"
    );
    eventually("status says so", BOOT, || {
        let status = lab.env.run(&["status", CLUSTER]);
        let texts = [
            "behind this host's",
            "not set: the guest keeps its own clock",
        ];
        let says = |text: &&str| status.stdout.contains(*text);
        texts.iter().all(says).then_some(())
    });
}

/// From the next link on, by the packaged drop-in.
fn the_clock_is_set_once_that_is_allowed(lab: &Lab) {
    let links = lab.connects();
    let directory = "/run/systemd/system/lkc-steward.service.d";
    let script = format!(
        "mkdir -p {directory} && cat >{directory}/set-clock.conf <<'END'\n{SET_CLOCK}END\n\
         systemctl daemon-reload && systemctl restart lkc-steward && \
         systemd-run --on-active=1 systemctl restart lkc-guest"
    );
    lab.env
        .lkc(["exec", "--no-tty", "--", "sh", "-c", &script])
        .within(BOOT)
        .run()
        .succeeds();
    lab.linked_again(links);
    let clock = eventually("the guest's clock is set", BOOT, || {
        let clock = &lab.status()["node"]["clock"];
        clock["off_ms"].as_i64().map(|off| (off, clock.clone()))
    });
    let (off_ms, clock) = clock;
    assert!(off_ms < -HOUR_MS && clock["why_not"].is_null(), "{clock}");
    let left = eventually("the guest says what time it is", BOOT, || {
        lab.status()["node"]["clock_skew_ms"].as_i64()
    });
    assert!(left.abs() < 10_000, "{left}");
    report(&format!(
        "the guest's clock, {} min behind, is set: {left} ms",
        -off_ms / 60_000
    ));
    lab.env
        .run(&["status", CLUSTER])
        .succeeds()
        .prints("this host's, and was set");
}

/// The guest is in the middle of a record when its host dies, and the next host is there before it
/// has looked.
fn a_host_that_comes_back_finds_the_line_as_it_was_left(lab: &Lab) {
    let machine = lab.env.machine(CLUSTER);
    for _ in 0..2 {
        let daemon = lab.env.daemon();
        traffic::abandoned_transfer(lab, || daemon.signal(Signal::SIGKILL));
        let since = Instant::now();
        lab.env
            .lkc(["up", "--wait", "agent"])
            .within(BOOT)
            .run()
            .succeeds();
        let back = eventually("the link is back", BOOT, || lab.is_linked_again(0));
        report(&format!(
            "serial link back after the daemon was killed: {:.2} s",
            back.duration_since(since).as_secs_f64()
        ));
        traffic::transfer(lab, SOME / 4);
    }
    assert_eq!(lab.env.machine(CLUSTER), machine, "the same machine");
}
