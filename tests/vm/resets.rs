//! Resets in a row under load. Some by default; `LKC_VM_RESETS` says how many.

use std::{env, fs, time::Duration};

use lkc_tests::eventually;

use crate::{
    faults,
    lab::{BOOT, CLUSTER, Lab, report},
    life::ready,
    traffic,
};

/// How long the link may take once the agent listens, in the median.
const USUALLY: Duration = Duration::from_secs(3);

/// And ever: an emulated machine that boots beside other work may not be scheduled for seconds.
const MOST: Duration = Duration::from_secs(12);

/// How many unless something else is said.
const USUAL: u32 = 2;

/// Each with a `kubectl get --watch` and a transfer under way, on a machine that is up.
pub(crate) fn in_a_row(lab: &Lab) {
    let count = env::var("LKC_VM_RESETS").map_or(USUAL, |text| text.parse().unwrap());
    let daemon = lab.env.daemon();
    let descriptors = || {
        fs::read_dir(format!("/proc/{}/fd", daemon.pid))
            .unwrap()
            .count()
    };
    let baseline = descriptors();
    let mut recoveries = Vec::new();
    for number in 1..=count {
        let recovery = one(lab);
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
        ready(lab);
        traffic::many_connections(lab);
    }
    recoveries.sort();
    let at = |percent: usize| recoveries[(recoveries.len() - 1) * percent / 100];
    let (median, most) = (at(50), at(100));
    report(&format!(
        "{count} resets: link back after the agent listened: p50 {:.2} s, p90 {:.2} s, at most {:.2} s",
        median.as_secs_f64(),
        at(90).as_secs_f64(),
        most.as_secs_f64()
    ));
    assert!(median < USUALLY, "{recoveries:?}");
    eventually("descriptors are back to the baseline", BOOT, || {
        (descriptors() <= baseline + 2).then_some(())
    });
    assert_eq!(lab.env.daemon(), daemon);
}

fn one(lab: &Lab) -> faults::Recovery {
    ready(lab);
    let watch = lab
        .env
        .kubectl(CLUSTER, ["get", "nodes", "--watch"])
        .within(BOOT)
        .spawn();
    watch.stdout_until("it shows the node", |text| text.contains(" Ready "));
    let recovery = faults::reset_in_a_transfer(lab);
    // It was cut, not left hanging.
    let _ = watch.finish();
    recovery
}
