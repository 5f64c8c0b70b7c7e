//! Machines that go in the middle of a transfer.

use std::time::{Duration, Instant};

use lkc_tests::eventually;

use crate::{
    lab::{BOOT, CLUSTER, Lab, report},
    traffic,
};

/// How long the daemon may take to see that a machine is gone.
const NOTICED: Duration = Duration::from_secs(20);

/// The plug is pulled: the transfer breaks, the cluster says that its machine is gone, and `up`
/// starts it again over the same disk.
pub(crate) fn power_off_in_a_transfer(lab: &Lab) {
    traffic::cut_transfer(lab, || lab.monitor().power_off());
    eventually("the machine is seen to be gone", NOTICED, || {
        (lab.status()["machine"]["running"] == false).then_some(())
    });
    let took = lab.up();
    report(&format!(
        "up again after the plug was pulled: {:.1} s",
        took.as_secs_f64()
    ));
    traffic::large_transfer(lab);
}

/// How a machine came back.
pub(crate) struct Recovery {
    /// From the reset to the link.
    pub(crate) after_reset: Duration,
    /// From the moment at which the agent listens again.
    pub(crate) after_agent: Duration,
}

/// The reset button: the transfer breaks, the listeners stay, and the link comes back by itself.
pub(crate) fn reset_in_a_transfer(lab: &Lab) -> Recovery {
    let machine = lab.env.machine(CLUSTER);
    let (links, agents) = (lab.connects(), lab.agents());
    traffic::cut_transfer(lab, || lab.monitor().reset());
    let since = Instant::now();
    let agent = eventually("the agent listens again", BOOT, || {
        (lab.agents() > agents).then(Instant::now)
    });
    let back = lab.linked_again(links);
    assert_eq!(lab.env.machine(CLUSTER), machine, "the same machine");
    Recovery {
        after_reset: back.duration_since(since),
        after_agent: back.duration_since(agent),
    }
}
