//! The clock and what is in use: each message as small and as full as it gets.

use lkc_protocol::message::{DiskUsage, SetTime, TimeSet, Usage, UsageAnswer};

use super::Take;

pub(super) fn each(to: &mut impl Take) {
    to.take(
        "set-time",
        "SetTime: within two seconds",
        SetTime {
            clock_unix_ms: 1_795_255_822_123,
            bound_ms: 2000,
        },
    );
    to.take(
        "set-time-largest",
        "SetTime: every number the largest of its type",
        SetTime {
            clock_unix_ms: u64::MAX,
            bound_ms: u32::MAX,
        },
    );
    to.take(
        "time-set-left-alone",
        "TimeSet: it was right",
        TimeSet {
            before_unix_ms: 1_795_255_822_100,
            changed: false,
        },
    );
    to.take(
        "time-set-changed",
        "TimeSet: it was eight hours behind",
        TimeSet {
            before_unix_ms: 1_795_227_022_123,
            changed: true,
        },
    );
    to.take("usage", "Usage", Usage {});
    to.take(
        "usage-answer-empty",
        "UsageAnswer: the machine does not say",
        UsageAnswer::default(),
    );
    to.take(
        "usage-answer-full",
        "UsageAnswer: two processors, two file systems",
        UsageAnswer {
            memory_kib: 2_097_152,
            memory_available_kib: 1_048_576,
            processors: 2,
            load_percent: vec![153, 80, 7],
            disks: vec![
                DiskUsage {
                    path: "/".to_owned(),
                    size_kib: 8_388_608,
                    available_kib: 4_194_304,
                },
                DiskUsage {
                    path: "/var/lib/rancher/k3s".to_owned(),
                    size_kib: u64::MAX,
                    available_kib: 0,
                },
            ],
        },
    );
}
