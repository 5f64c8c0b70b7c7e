//! Bytes that go from one socket to another without being copied: through a pipe, by splice(2).
//!
//! The call has no flag that keeps it from waiting for a socket; only the socket's own mode does.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;

use super::socket::Socket;

/// Bytes that a pipe has room for; those that wait in it, the sender's socket has let go of.
const SIZE: usize = 512 * 1024;

/// Pipes that are kept for the next turn of one of the connections, per process.
const KEPT: usize = 8;

/// Pipes in use at once: a process has descriptors for other things too. Who gets none copies.
const MOST: usize = 64;

static PIPES: Pipes = Pipes::new();

/// One connection's share in the pipes. With the last of them the kept ones are closed.
#[derive(Debug)]
pub(super) struct Share<'a>(&'a Pipes);

/// A pipe in use, empty at first. It goes back when it is dropped empty.
#[derive(Debug)]
pub(super) struct Splice<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    held: usize,
}

#[derive(Debug)]
struct Pipes(Mutex<Stock>);

#[derive(Debug)]
struct Stock {
    kept: Vec<Pipe>,
    in_use: usize,
    shares: usize,
}

#[derive(Debug)]
struct Pipe {
    taken: OwnedFd,
    given: OwnedFd,
}

impl Share<'static> {
    pub(super) fn new() -> Self {
        PIPES.share()
    }
}

impl Share<'_> {
    /// None where too many are in use, or where the system gives none.
    pub(super) fn take(&self) -> Option<Splice<'_>> {
        let mut stock = self.0.stock();
        if stock.in_use >= MOST {
            return None;
        }
        let pipe = match stock.kept.pop() {
            Some(pipe) => pipe,
            None => Pipe::new().ok()?,
        };
        stock.in_use += 1;
        Some(Splice {
            pipes: self.0,
            pipe: Some(pipe),
            held: 0,
        })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut stock = self.0.stock();
        stock.shares -= 1;
        if stock.shares == 0 {
            stock.kept = Vec::new();
        }
    }
}

impl Splice<'_> {
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

impl Drop for Splice<'_> {
    fn drop(&mut self) {
        let mut stock = self.pipes.stock();
        stock.in_use -= 1;
        // What a connection left in it is no other's to read.
        if self.held == 0 && stock.kept.len() < KEPT {
            stock.kept.extend(self.pipe.take());
        }
    }
}

impl Pipes {
    const fn new() -> Self {
        Self(Mutex::new(Stock {
            kept: Vec::new(),
            in_use: 0,
            shares: 0,
        }))
    }

    fn share(&self) -> Share<'_> {
        self.stock().shares += 1;
        Share(self)
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[tokio::test]
    async fn pipes_are_used_again_when_empty_and_never_more_than_allowed() {
        let pipes = Pipes::new();
        let (share, other_share) = (pipes.share(), pipes.share());
        let secret = source(b"secret");
        secret.readable().await.unwrap();
        let mut left = share.take().unwrap();
        assert_eq!(left.fill(&secret).unwrap(), 6);
        drop(left);
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let target = UnixStream::from_std(ours).unwrap();
        target.writable().await.unwrap();
        let mut all: Vec<_> = (0..MOST).map_while(|_| share.take()).collect();
        assert_eq!(all.len(), MOST);
        assert!(share.take().is_none(), "one more than allowed");
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
        drop(share);
        assert_eq!(pipes.stock().kept.len(), KEPT, "a connection is left");
        assert_eq!(pipes.stock().in_use, 0);
        drop(other_share);
        assert_eq!(pipes.stock().kept.len(), 0, "nobody is left");
    }
}
