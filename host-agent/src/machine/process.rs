//! A process that is held by a descriptor and not by its pid, so that neither waiting nor signalling
//! can hit another process that got the pid later.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::unix::pipe::Receiver;

#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    descriptor: OwnedFd,
}

impl Process {
    /// `None` when no process `pid` that started at `start_time` runs.
    pub(super) fn open(pid: i32, start_time: u64) -> io::Result<Option<Self>> {
        let Some(unix_pid) = Some(pid).filter(|pid| *pid > 1).and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let descriptor = match pidfd_open(unix_pid, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // Read after the descriptor is held: what is read now is about the process we hold, or
        // about a later one, whose start time differs.
        match stat(pid) {
            Ok(stat) if stat.start_time == start_time && stat.is_running => {
                Ok(Some(Self { pid, descriptor }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Does nothing to a process that has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the end of the process and, as it is the first of its pid namespace, of all others
    /// in there: the kernel ends them before it reports the first one's end.
    pub(super) async fn exited(&self) -> io::Result<()> {
        // Like the end of a pipe the descriptor becomes readable once; it is never read.
        let end = Receiver::from_owned_fd_unchecked(self.descriptor.try_clone()?)?;
        end.readable().await
    }
}

/// Clock ticks from the host's boot to the start of the live process `pid`.
pub(super) fn start_time(pid: i32) -> io::Result<u64> {
    Ok(stat(pid)?.start_time)
}

pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

struct Stat {
    start_time: u64,
    is_running: bool,
}

fn stat(pid: i32) -> io::Result<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unknown form of stat"))
}

/// The name, in parentheses, may itself hold spaces and parentheses; nothing after it does.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    // The state is field 3 and the start time field 22 of the line.
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(Stat {
        start_time,
        is_running: !matches!(state, "Z" | "X" | "x"),
    })
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c)) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 99";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat.start_time, 4242);
        assert!(!stat.is_running);
    }

    #[test]
    fn nonsense_is_no_stat() {
        for line in [
            "",
            "42",
            "42 (sh) S",
            "42 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x",
        ] {
            assert!(parse_stat(line).is_none(), "{line}");
        }
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = start_time(own).unwrap();
        assert!(Process::open(own, started).unwrap().is_some());
        assert!(Process::open(own, started + 1).unwrap().is_none());
    }

    #[test]
    fn no_record_can_name_init_or_a_group() {
        for pid in [1, 0, -1, i32::MIN] {
            assert!(Process::open(pid, 0).unwrap().is_none());
        }
    }
}
