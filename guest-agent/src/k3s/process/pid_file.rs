//! The pid file, and the process that it names if that still is the same one.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use lkc_protocol::message::K3sRole;

/// A process by pid and start time, which together never name another one of the same boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessId {
    pub(super) pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`.
    start_time: u64,
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) process: ProcessId,
    pub(super) role: K3sRole,
    /// Fingerprint of the configuration that it was started with.
    pub(super) configuration: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start_time) = parse_stat(&stat)?;
        // A zombie has ended; it only waits to be reaped.
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start_time })
    }

    /// A process that has ended before it could be looked at: never alive.
    pub(super) fn ended(pid: u32) -> Self {
        Self {
            pid,
            start_time: u64::MAX,
        }
    }

    /// Whether it still runs.
    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl PidFile {
    /// Reads the file; none when there is none or when the process it names has ended.
    pub(super) fn read_alive(path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(path).ok()?;
        let file = Self::parse(&text)?;
        file.process.is_alive().then_some(file)
    }

    pub(super) fn write(self, path: &Path) -> std::io::Result<()> {
        let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(directory)?;
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        let ProcessId { pid, start_time } = self.process;
        writeln!(
            file,
            "{pid} {start_time} {} {}",
            self.role, self.configuration
        )?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 1)?;
        let start_time = words.next()?.parse().ok()?;
        let role = match words.next()? {
            "server" => K3sRole::Server,
            "agent" => K3sRole::Agent,
            _ => return None,
        };
        let configuration = words.next()?.parse().ok()?;
        Some(Self {
            process: ProcessId { pid, start_time },
            role,
            configuration,
        })
    }
}

/// Removes the file; that it is not there is fine.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// State and start time. The name in parentheses may hold anything, so the fields are counted from
/// its last parenthesis.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // State is field 3, start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_parentheses() {
        let stat = "42 (k3s ) R 1 (x) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        assert_eq!(parse_stat(stat), Some(('S', 98765)));
        assert_eq!(parse_stat("42 (x) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_stale_pid_is_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run").join("k3s.pid");
        assert_eq!(PidFile::read_alive(&path), None);

        let process = ProcessId::of(std::process::id()).unwrap();
        let own = PidFile {
            process,
            role: K3sRole::Server,
            configuration: 7,
        };
        own.write(&path).unwrap();
        assert_eq!(PidFile::read_alive(&path), Some(own));

        let reused = ProcessId {
            start_time: own.process.start_time + 1,
            ..own.process
        };
        PidFile {
            process: reused,
            ..own
        }
        .write(&path)
        .unwrap();
        assert_eq!(PidFile::read_alive(&path), None);

        for text in [
            "",
            "1 2 server 3",
            "-1 2 server 3",
            "x",
            "42",
            "42 1 other 3",
            "42 1 server",
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(PidFile::read_alive(&path), None, "{text}");
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
