//! What a process holds, as /proc has it.

use std::fs;

use serde::Serialize;

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// Resident memory in KiB, exact.
    pub(crate) resident_kib: u64,
}

impl Usage {
    /// Of a process; all zero for one that is gone.
    pub(crate) fn of(pid: i32) -> Self {
        let count = |what: &str| {
            fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, |entries| entries.count())
        };
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let resident = memory.lines().find_map(|line| line.strip_prefix("Rss:"));
        let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Self {
            descriptors: count("fd"),
            threads: count("task"),
            resident_kib: resident.unwrap_or_default(),
        }
    }

    /// Whether it has as many descriptors and threads as before.
    pub(crate) const fn holds_as(&self, before: &Self) -> bool {
        self.descriptors == before.descriptors && self.threads == before.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_file_shows_and_a_closed_one_does_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let before = Usage::of(pid);
        assert!(before.resident_kib > 0 && before.threads > 0);
        let opened = fs::File::open("/proc/self/stat").unwrap();
        assert!(Usage::of(pid).descriptors > before.descriptors - 1);
        drop(opened);
        assert_eq!(Usage::of(-1).descriptors, 0);
    }
}
