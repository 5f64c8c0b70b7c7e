//! Resets in a row under load. Some by default; `LKC_VM_RESETS` says how many.

use std::{env, fs, time::Duration};

use crate::{
    faults,
    lab::{BOOT, CLUSTER, Carrier, Lab, report},
    life::ready,
    traffic,
};

/// How long the link may take once the agent listens, in the median.
const USUALLY: Duration = Duration::from_secs(3);

/// And ever: an emulated machine that boots beside other work may not be scheduled for seconds.
const MOST: Duration = Duration::from_secs(12);

/// How many unless something else is said.
const USUAL: u32 = 2;

#[test]
fn resets_in_a_row_are_survived() {
    let Some(lab) = Lab::new(Carrier::Vsock) else {
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
    let mut recoveries = Vec::new();
    for number in 1..=count {
        let watch = lab
            .env
            .kubectl(CLUSTER, ["get", "nodes", "--watch"])
            .within(BOOT)
            .spawn();
        watch.stdout_until("it shows the node", |text| text.contains(" Ready "));
        let recovery = faults::reset_in_a_transfer(&lab);
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
        recoveries.push(recovery.after_agent);
        // The listeners were there all the time: what connects now is parked or served.
        ready(&lab);
        traffic::many_connections(&lab);
    }
    recoveries.sort();
    let median = recoveries[(recoveries.len() - 1) / 2];
    let longest = recoveries.last().copied().unwrap_or_default();
    report(&format!(
        "{count} resets: link back {:.2} s after the agent listened in the median, {:.2} s at most",
        median.as_secs_f64(),
        longest.as_secs_f64()
    ));
    assert!(median < USUALLY, "{recoveries:?}");
    lkc_tests::eventually("descriptors are back to the baseline", BOOT, || {
        (descriptors() <= baseline + 2).then_some(())
    });
    assert_eq!(lab.env.daemon(), daemon);
    lab.env.run(&["status", CLUSTER]).succeeds();
}
