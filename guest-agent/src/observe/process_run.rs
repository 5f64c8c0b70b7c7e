//! One run of k3s: what was said by another run does not count for this one.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Clock ticks per second of /proc, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// A run of the k3s process, or the time without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessRun {
    /// Grows with every start and every end.
    pub count: u64,
    /// When the process started by the wall clock, where /proc tells.
    pub started: Option<SystemTime>,
}

/// When a process started, by the wall clock as it is now.
#[must_use]
pub fn started_at(pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot = Duration::from_secs(boot.trim().parse().ok()?);
    UNIX_EPOCH.checked_add(boot + since_boot(&stat)?)
}

/// Field 22; the second field is a name in parentheses that may hold anything.
fn since_boot(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: u64 = behind_name.split_whitespace().nth(19)?.parse().ok()?;
    Some(Duration::from_millis(
        ticks.checked_mul(1000)? / TICKS_PER_SECOND,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_start_is_a_moment_ago() {
        let started = started_at(std::process::id()).unwrap();
        let age = SystemTime::now()
            .duration_since(started)
            .unwrap_or_default();
        assert!(age < Duration::from_secs(3600), "{age:?}");
        assert_eq!(started_at(u32::MAX), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (k3s) server) S 1 7 7 0 -1 4 1 0 0 0 1 2 0 0 20 0 5 0 12345 9 8";
        assert_eq!(since_boot(stat), Some(Duration::from_millis(123_450)));
        assert_eq!(since_boot("7 (k3s) S 1"), None);
    }
}
