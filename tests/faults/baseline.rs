//! What must be as before when all is over.

use std::{fs, time::Duration};

use lkc_tests::{process::descendants, within};
use tokio::runtime::Handle;

use crate::Arrangement;

/// How long what was let go of may take until it is gone.
const DEADLINE: Duration = Duration::from_secs(20);

/// Looks in a row that must agree.
const ALIKE: u32 = 15;

/// Counted at both ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Open descriptors of this process.
    descriptors: usize,
    /// Tasks of the host's runtime.
    tasks: usize,
    /// Processes that this one started, and theirs.
    processes: usize,
    /// Open descriptors of the agent.
    guest_descriptors: usize,
    /// Connections that the relay holds.
    relayed: usize,
}

impl Baseline {
    /// What there is, once it stands still.
    pub(crate) fn of(arrangement: &Arrangement) -> Self {
        let (mut last, mut alike) = (Self::look(arrangement), 0);
        let still = within(DEADLINE, || {
            let look = Self::look(arrangement);
            alike = if look == last { alike + 1 } else { 0 };
            last = look;
            (last.relayed == 0 && alike == ALIKE).then_some(())
        });
        assert!(still.is_some(), "the counts do not stand still: {last:?}");
        last
    }

    /// Waits until it is like that again.
    #[track_caller]
    pub(crate) fn is_back(&self, arrangement: &Arrangement) {
        let mut last = Self::look(arrangement);
        let back = within(DEADLINE, || {
            last = Self::look(arrangement);
            (last == *self).then_some(())
        });
        assert!(back.is_some(), "left over: {last:?}, before: {self:?}");
    }

    fn look(arrangement: &Arrangement) -> Self {
        let ours = i32::try_from(std::process::id()).unwrap();
        Self {
            descriptors: descriptors("self"),
            tasks: Handle::current().metrics().num_alive_tasks(),
            processes: descendants(ours).len(),
            guest_descriptors: descriptors(&arrangement.guest.pid().to_string()),
            relayed: arrangement.relay.live(),
        }
    }
}

fn descriptors(process: &str) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}
