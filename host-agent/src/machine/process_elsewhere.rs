//! A process of a system without process descriptors: its pid together with the time of its start,
//! asked of `ps` each time, so that another process that got the pid later is told from it.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, kill};
use nix::unistd::Pid;
use rustix::process::Signal;

/// Pause between two looks: nothing tells the end of a process that is not our child.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    start_time: u64,
}

impl Process {
    /// `None` when no process `pid` that started at `start_time` runs.
    pub(super) fn open(pid: i32, start_time: u64) -> io::Result<Option<Self>> {
        let process = Self { pid, start_time };
        Ok((pid > 1 && process.is_running()?).then_some(process))
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Does nothing to a process that has ended.
    pub(super) fn signal(&self, which: Signal) -> io::Result<()> {
        if !self.is_running()? {
            return Ok(());
        }
        let which = if which == Signal::KILL {
            signal::Signal::SIGKILL
        } else {
            signal::Signal::SIGTERM
        };
        match kill(Pid::from_raw(self.pid), which) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for the end of the process.
    pub(super) async fn exited(&self) -> io::Result<()> {
        while self.is_running()? {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn is_running(&self) -> io::Result<bool> {
        Ok(ask(self.pid)?.is_some_and(|(start, runs)| runs && start == self.start_time))
    }
}

/// A number that stands for the start of the live process `pid`; only good to be compared.
pub(super) fn start_time(pid: i32) -> io::Result<u64> {
    match ask(pid)? {
        Some((start, _)) => Ok(start),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Start times carry their date here, so that they need no mark of the boot.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(String::new())
}

fn ask(pid: i32) -> io::Result<Option<(u64, bool)>> {
    let output = Command::new("/bin/ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .output()?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

/// `Ss   Sat Nov 21 17:00:00 2026`; nothing when there is no such process.
fn parse(line: &str) -> Option<(u64, bool)> {
    let (state, start) = line.trim().split_once(char::is_whitespace)?;
    let start = super::record::fingerprint(start.trim().as_bytes());
    let start = u64::from_str_radix(&start, 16).ok()?;
    Some((start, !state.starts_with('Z')))
}
