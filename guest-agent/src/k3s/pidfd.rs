//! A process that is held by a descriptor, so that neither waiting nor signalling can hit another
//! one that got its pid later.

use std::io;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::net::unix::pipe::Receiver;

/// A process, held.
#[derive(Debug)]
pub(crate) struct Pidfd {
    /// Like the end of a pipe it becomes readable once, when the process ends. It is never read.
    descriptor: Receiver,
}

impl Pidfd {
    /// The process that has this pid now; none when there is no such process.
    pub(crate) fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(descriptor) => Ok(Some(Self {
                descriptor: Receiver::from_owned_fd_unchecked(descriptor)?,
            })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until it has ended, reaped or not. Cancel safe.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        self.descriptor.readable().await
    }

    /// Does nothing to a process that has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_end_is_heard_of_once_it_comes() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let held = Pidfd::open(child.id()).unwrap().unwrap();
        assert!(futures::poll!(std::pin::pin!(held.ended())).is_pending());
        held.signal(Signal::TERM).unwrap();
        for _ in 0..2 {
            tokio::time::timeout(Duration::from_secs(10), held.ended())
                .await
                .unwrap()
                .unwrap();
        }
        child.wait().unwrap();
        held.signal(Signal::KILL).unwrap();
        assert!(Pidfd::open(child.id()).unwrap().is_none());
    }

    #[tokio::test]
    async fn no_pid_at_all() {
        for pid in [0, u32::MAX, 1 << 31] {
            assert!(Pidfd::open(pid).unwrap().is_none(), "{pid}");
        }
    }
}
