//! What of the machine is in use, as the kernel has it.

use std::fs;

use lkc_protocol::message::{DiskUsage, UsageAnswer};
use nix::sys::statvfs::statvfs;

use crate::k3s::K3sPaths;

/// Reads it. What cannot be read is zero, or is not there.
#[must_use]
pub fn read() -> UsageAnswer {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    UsageAnswer {
        memory_kib: kib(&memory, "MemTotal:"),
        memory_available_kib: kib(&memory, "MemAvailable:"),
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
        load_percent: load_percent(&load),
        disks: disks(),
    }
}

/// The file system of the system, and k3s' where that is another.
fn disks() -> Vec<DiskUsage> {
    let mut disks = Vec::new();
    let mut known = Vec::new();
    for path in ["/", K3sPaths::DATA_DIR] {
        let Ok(of) = statvfs(path) else { continue };
        if known.contains(&of.filesystem_id()) {
            continue;
        }
        known.push(of.filesystem_id());
        let kib = |blocks: u64| {
            let bytes = u128::from(blocks) * u128::from(of.fragment_size());
            u64::try_from(bytes / 1024).unwrap_or(u64::MAX)
        };
        disks.push(DiskUsage {
            path: path.to_owned(),
            size_kib: kib(of.blocks()),
            available_kib: kib(of.blocks_available()),
        });
    }
    disks
}

/// `MemTotal:        2097152 kB`
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// `0.52 0.58 0.59 1/597 12345`
fn load_percent(text: &str) -> Vec<u32> {
    let averages = text.split(' ').take(3);
    let hundredths = |average: &str| {
        let (whole, part) = average.trim().split_once('.')?;
        let whole: u32 = whole.parse().ok()?;
        let part: u32 = Some(part).filter(|part| part.len() == 2)?.parse().ok()?;
        whole.checked_mul(100)?.checked_add(part)
    };
    averages.filter_map(hundredths).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernel_writes_it() {
        let memory = "MemTotal:        2030512 kB\nMemFree:   1 kB\nMemAvailable:    1515040 kB\n";
        assert_eq!(kib(memory, "MemTotal:"), 2_030_512);
        assert_eq!(kib(memory, "MemAvailable:"), 1_515_040);
        assert_eq!(load_percent("0.52 10.58 0.05 1/597 12345\n"), [52, 1058, 5]);
    }

    #[test]
    fn nonsense() {
        for text in ["", "MemTotal:", "MemTotal: x kB", "Mem"] {
            assert_eq!(kib(text, "MemTotal:"), 0, "{text}");
        }
        for text in ["", "1 2 3", "0.5 x.99 99999999999.00", "-1.00"] {
            assert_eq!(load_percent(text), [0; 0], "{text}");
        }
    }

    #[test]
    fn this_machine_has_some_of_everything() {
        let usage = read();
        assert!(usage.memory_kib > usage.memory_available_kib);
        assert!(usage.memory_available_kib > 0 && usage.processors > 0);
        assert_eq!(usage.load_percent.len(), 3);
        assert_eq!(usage.disks[0].path, "/");
        assert!(usage.disks[0].size_kib >= usage.disks[0].available_kib);
    }
}
