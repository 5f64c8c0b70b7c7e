//! Resets in a row under load. Some by default; `LKC_VM_RESETS` says how many.

use std::{env, fs, time::Duration};

use crate::{
    faults,
    lab::{BOOT, CLUSTER, Lab, report},
    life::ready,
    throughput::raw,
    traffic,
};

/// Port of AF_VSOCK that the agent listens on.
const AGENT: u16 = 5000;

/// How long the link may take once the agent's port is bound. Seconds where the machine has a
/// processor to itself; an emulated one that boots beside other work may not be scheduled for longer
/// than that, and what is seen is reported.
const MOST: Duration = Duration::from_secs(30);

/// How many unless something else is said.
const USUAL: u32 = 2;

#[test]
fn resets_in_a_row_are_survived() {
    let Some(lab) = Lab::new() else {
        return;
    };
    let count = env::var("LKC_VM_RESETS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(USUAL);
    lab.up();
    traffic::large_transfer(&lab);
    let daemon = lab.env.daemon();
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", daemon.pid))
            .unwrap()
            .count()
    };
    let baseline = descriptors();
    for number in 1..=count {
        let watch = lab
            .env
            .kubectl(CLUSTER, ["get", "nodes", "--watch"])
            .within(BOOT)
            .spawn();
        watch.stdout_until("it shows the node", |text| text.contains(" Ready "));
        let recovery = faults::reset_in_a_transfer(&lab, || raw(&lab, AGENT).is_some());
        // It was cut, not left hanging.
        let _ = watch.finish();
        report(&format!(
            "reset {number}: link back after {:.1} s, {:.2} s after the agent listened",
            recovery.after_reset.as_secs_f64(),
            recovery.after_agent.as_secs_f64()
        ));
        assert!(
            recovery.after_agent < MOST,
            "the link took too long to come back"
        );
        // The listeners were there all the time: what connects now is parked or served.
        ready(&lab);
        traffic::many_connections(&lab);
    }
    lkc_tests::eventually("descriptors are back to the baseline", BOOT, || {
        (descriptors() <= baseline + 2).then_some(())
    });
    assert_eq!(lab.env.daemon(), daemon);
    lab.env.run(&["status", CLUSTER]).succeeds();
}
