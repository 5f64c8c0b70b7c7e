//! What only this system can: end with the parent, and hear of a file that appears.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

/// Has the kernel end this process, also as the program that it becomes, when its parent ends.
pub(super) fn end_with_parent() -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // Whose parent is init already has lost its own before it could be tied to it.
    if getppid() == Pid::from_raw(1) {
        return Err(io::Error::other("the keeper is gone"));
    }
    Ok(())
}

/// Notices a file that somebody else makes.
pub(super) struct FileWatch {
    path: PathBuf,
    events: Inotify,
}

impl FileWatch {
    /// What appears from now on is noticed.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let events = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        events.add_watch(
            directory,
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
        )?;
        Ok(Self {
            path: path.to_owned(),
            events,
        })
    }

    /// Until it is there, for at most `patience`.
    pub(super) async fn appeared(self, patience: Duration) -> io::Result<()> {
        tokio::task::spawn_blocking(move || self.wait(Instant::now() + patience)).await?
    }

    fn wait(&self, until: Instant) -> io::Result<()> {
        while !self.path.exists() {
            let left = until.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut polled = [PollFd::new(self.events.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, left)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.events.read_events()?;
        }
        Ok(())
    }
}
