//! Snapshots as a table.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Paint, table::columns};
use crate::{machine::Snapshot, sanitize};

const MIB: u64 = 1024 * 1024;

/// Every snapshot, one line each.
#[must_use]
pub fn snapshot_table(snapshots: &[Snapshot], paint: Paint) -> String {
    table(snapshots, SystemTime::now(), paint)
}

fn table(snapshots: &[Snapshot], now: SystemTime, paint: Paint) -> String {
    let rows = snapshots.iter().map(|snapshot| {
        let made = UNIX_EPOCH.checked_add(Duration::from_secs(snapshot.created_at));
        let age = now.duration_since(made.unwrap_or(now)).unwrap_or_default();
        vec![
            sanitize::line(&snapshot.name),
            format!("{} ago", rough(age)),
            format!("{} MiB", snapshot.memory_bytes.div_ceil(MIB)),
        ]
    });
    columns(&["SNAPSHOT", "MADE", "MEMORY"], rows.collect(), paint)
}

/// The largest unit of which there are two at least.
fn rough(age: Duration) -> String {
    let seconds = age.as_secs();
    for (unit, length) in [("d", 24 * 3600), ("h", 3600), ("min", 60)] {
        if seconds >= 2 * length {
            return format!("{} {unit}", seconds / length);
        }
    }
    format!("{seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_with_their_age() {
        let made = |name: &str, created_at, memory_bytes| Snapshot {
            name: name.to_owned(),
            created_at,
            memory_bytes,
        };
        let snapshots = [
            made("before-upgrade", 1_000, 300 * MIB + 1),
            made("late", 1_000_000 - 90, 1),
            made("of-the-future", u64::MAX, u64::MAX),
        ];
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        insta::assert_snapshot!(table(&snapshots, now, Paint::new(false)), @r"
SNAPSHOT        MADE      MEMORY
before-upgrade  11 d ago  301 MiB
late            90 s ago  1 MiB
of-the-future   0 s ago   17592186044416 MiB
");
    }
}
