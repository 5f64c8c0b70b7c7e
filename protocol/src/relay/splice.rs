//! Bytes that go from one socket to another without being copied: through a pipe, by splice(2).
//!
//! The call has no flag that keeps it from waiting for a socket; only the socket's own mode does.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use super::socket::Socket;

/// Bytes that a pipe has room for; those that wait in it, the sender's socket has let go of.
const SIZE: usize = 512 * 1024;

/// Pipes that are kept for the next to need one, per process.
const KEPT: usize = 8;

/// Pipes in use at once: a process has descriptors for other things too. Who gets none copies.
const MOST: usize = 64;

static KEPT_PIPES: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// A pipe in use, empty at first. It goes back when it is dropped empty.
#[derive(Debug)]
pub(super) struct Splice {
    pipe: Option<Pipe>,
    held: usize,
}

#[derive(Debug)]
struct Pipe {
    taken: OwnedFd,
    given: OwnedFd,
}

impl Splice {
    /// None where too many are in use, or where the system gives none.
    pub(super) fn take() -> Option<Self> {
        // Made first: dropping it counts it out again.
        let mut this = Self {
            pipe: None,
            held: 0,
        };
        if IN_USE.fetch_add(1, Ordering::Relaxed) >= MOST {
            return None;
        }
        let kept = kept().pop();
        this.pipe = Some(match kept {
            Some(pipe) => pipe,
            None => Pipe::new().ok()?,
        });
        Some(this)
    }

    /// Bytes that are in it.
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    /// Takes what has arrived at `from`, while it holds nothing. Zero at the end.
    ///
    /// # Errors
    /// `WouldBlock`, or why the connection failed.
    pub(super) fn fill(&mut self, from: &impl Socket) -> io::Result<usize> {
        let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let count = from.attempt(Interest::READABLE, || {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            Ok(splice(from, None, &pipe.given, None, SIZE, flags)?)
        })?;
        self.held += count;
        Ok(count)
    }

    /// Gives the beginning of what it holds to `to`, and says how many bytes.
    ///
    /// # Errors
    /// `WouldBlock`, or why the connection failed.
    pub(super) fn drain(&mut self, to: &impl Socket) -> io::Result<usize> {
        let pipe = self.pipe.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let held = self.held;
        let count = to.attempt(Interest::WRITABLE, || {
            let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
            Ok(splice(&pipe.taken, None, to, None, held, flags)?)
        })?;
        self.held -= count;
        Ok(count)
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        IN_USE.fetch_sub(1, Ordering::Relaxed);
        let Some(pipe) = self.pipe.take() else { return };
        let mut kept = kept();
        // What a connection left in it is no other's to read.
        if self.held == 0 && kept.len() < KEPT {
            kept.push(pipe);
        }
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (taken, given) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A user with many pipes gets them smaller, which is only slower.
        let _ = fcntl_setpipe_size(&given, SIZE);
        Ok(Self { taken, given })
    }
}

fn kept() -> std::sync::MutexGuard<'static, Vec<Pipe>> {
    KEPT_PIPES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use tokio::net::UnixStream;

    use super::*;

    /// A socket to fill a pipe from, with `bytes` to read.
    fn source(bytes: &[u8]) -> UnixStream {
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        ours.set_nonblocking(true).unwrap();
        UnixStream::from_std(ours).unwrap()
    }

    // One test: what it looks at belongs to the process.
    #[tokio::test]
    async fn pipes_are_used_again_when_empty_and_never_more_than_allowed() {
        let secret = source(b"secret");
        secret.readable().await.unwrap();
        let mut left = Splice::take().unwrap();
        assert_eq!(left.fill(&secret).unwrap(), 6);
        drop(left);
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let target = UnixStream::from_std(ours).unwrap();
        target.writable().await.unwrap();
        let mut all: Vec<_> = (0..MOST).map_while(|_| Splice::take()).collect();
        assert_eq!(all.len(), MOST);
        assert!(Splice::take().is_none(), "one more than allowed");
        for splice in &mut all {
            let other = source(b"x");
            other.readable().await.unwrap();
            assert_eq!(splice.fill(&other).unwrap(), 1);
            assert_eq!(splice.drain(&target).unwrap(), 1);
            let mut byte = [0];
            theirs.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x", "what another connection left");
        }
        drop(all);
        assert_eq!(kept().len(), KEPT);
        assert_eq!(IN_USE.load(Ordering::Relaxed), 0);
    }
}
