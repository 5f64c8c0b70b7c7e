//! A virtio-serial port, or any line that is one stream without connections.
//!
//! The line is opened anew for each carrier. A virtio-serial port says when the host hangs up;
//! what still stands on the line from before comes in front of the next host's preface, which is
//! found by its magic.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt;
use lkc_protocol::link::{Locality, Whole};
use nix::{errno::Errno, fcntl::OFlag};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf, Ready},
    net::unix::pipe,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::Accepted;

/// Between two looks at a line on whose other side nobody is. The kernel has no word for it that
/// could be waited for.
const AGAIN: Duration = Duration::from_millis(200);

/// Bytes of one write, at most: the kernel's own driver takes no more at once than twice as many.
const WRITE_SIZE: usize = 16 * 1024;

/// Bytes of one read, at most: a port gives a page at a time.
const READ_SIZE: usize = 16 * 1024;

/// Bytes that a host says first, at most; the preface has fewer.
const FIRST_BYTES: usize = 4096;

/// A line, used by one carrier at a time.
#[derive(Debug)]
pub(super) struct Line {
    path: PathBuf,
    free: Arc<Semaphore>,
}

impl Line {
    /// The line at `path`, which need not be there yet.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            free: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits until nobody uses the line and a host says something.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        let used = Arc::clone(&self.free)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        loop {
            match first_words(&self.path).await {
                Ok(Some((wire, heard))) => {
                    let carrier = Port {
                        heard,
                        wire,
                        _used: used,
                    };
                    return Ok(Accepted::without_descriptors(
                        Whole::new(carrier, WRITE_SIZE),
                        Locality::Remote,
                        self.path.display().to_string(),
                    ));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::debug!(path = %self.path.display(), %error, "no carrier"),
            }
            sleep(AGAIN).await;
        }
    }
}

/// Opens the line and waits for bytes; none when nobody is on its other side.
async fn first_words(path: &Path) -> io::Result<Option<(Wire, Vec<u8>)>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
        .open(path)?;
    make_raw(&file)?;
    let mut heard = vec![0; FIRST_BYTES];
    let count = loop {
        match (&file).read(&mut heard) {
            // A port without a host reads as ended. A terminal is.
            Ok(0) if !isatty(&file) => sleep(AGAIN).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break 0,
            Err(error) if !is_hangup(&error) => return Err(error),
            read => break read.unwrap_or(0),
        }
    };
    let mut wire = Wire::new(file)?;
    let count = match count {
        0 => wire.read(&mut heard).await?,
        count => count,
    };
    heard.truncate(count);
    Ok((count > 0).then_some((wire, heard)))
}

/// A terminal line changes bytes unless it is told not to.
fn make_raw(file: &File) -> io::Result<()> {
    if isatty(file) {
        let mut settings = tcgetattr(file)?;
        settings.make_raw();
        tcsetattr(file, OptionalActions::Now, &settings)?;
    }
    Ok(())
}

/// An open line.
///
/// A pipe that gave less than was asked for is empty, and the reads of tokio's pipes wait for news
/// of more then. A virtio-serial port gives one of its buffers at a time, however many are filled,
/// and no news comes of those that are. Here only a line that says so itself is empty.
#[derive(Debug)]
struct Wire {
    input: pipe::Receiver,
    output: pipe::Sender,
}

impl Wire {
    /// A line behaves as two pipes; it can be opened once only.
    fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            output: pipe::Sender::from_file_unchecked(file.try_clone()?)?,
            input: pipe::Receiver::from_file_unchecked(file)?,
        })
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = buffer.remaining().min(READ_SIZE);
        loop {
            ready!(self.input.poll_read_ready(context))?;
            match self.input.try_read(buffer.initialize_unfilled_to(size)) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if is_hangup(&error) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                // The host hung up, and another has come since.
                Err(_) if is_over(self.input.ready(Interest::READABLE)) => {
                    return Poll::Ready(Ok(()));
                }
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.output.poll_write_ready(context))?;
            match self.output.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A port without a host takes nothing and is never full.
                    if is_over(self.output.ready(Interest::WRITABLE)) {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                }
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether the host has hung up since the line was opened. It stays so when another comes: tokio
/// keeps in mind that a direction is closed, and calls it ready from then on.
fn is_over(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let ready = ready.now_or_never();
    matches!(ready, Some(Ok(ready)) if ready.is_read_closed() || ready.is_write_closed())
}

/// A terminal says so when nobody holds its other side any more.
fn is_hangup(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EIO as i32)
}

/// The line in use.
#[derive(Debug)]
struct Port {
    /// What the host said while it was waited for.
    heard: Vec<u8>,
    wire: Wire,
    _used: OwnedSemaphorePermit,
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heard.is_empty() {
            return Pin::new(&mut self.wire).poll_read(context, buffer);
        }
        let count = self.heard.len().min(buffer.remaining());
        buffer.put_slice(&self.heard[..count]);
        self.heard.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::{
            fd::OwnedFd,
            unix::{fs::symlink, net::UnixDatagram},
        },
    };

    use nix::pty::{OpenptyResult, openpty};
    use tokio::{io::AsyncWriteExt, time::timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A line whose other side is held here, at `path`.
    fn line_at(path: &Path) -> File {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let name = nix::unistd::ttyname(&slave).unwrap();
        let _ = std::fs::remove_file(path);
        symlink(name, path).unwrap();
        make_raw(&slave.into()).unwrap();
        master.into()
    }

    /// As a port does, a socket of packets gives one at a time however many are there.
    #[tokio::test]
    async fn a_line_that_gave_less_than_was_asked_for_is_not_taken_for_empty() {
        let (host, guest) = UnixDatagram::pair().unwrap();
        guest.set_nonblocking(true).unwrap();
        let mut wire = Wire::new(OwnedFd::from(guest).into()).unwrap();
        for buffer in [b"one", b"two"] {
            host.send(buffer).unwrap();
        }
        let mut room = [0; 1024];
        for expected in [b"one", b"two"] {
            let count = timeout(LIMIT, wire.read(&mut room)).await.unwrap().unwrap();
            assert_eq!(&room[..count], expected);
        }
    }

    #[tokio::test]
    async fn a_line_is_opened_again_once_the_host_has_hung_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lkc.agent.0");
        let line = Line::new(&path);
        let mut accepting = Box::pin(line.accept());
        assert!(
            timeout(AGAIN * 2, &mut accepting).await.is_err(),
            "nothing is there yet"
        );
        for round in 0..2 {
            let mut host = line_at(&path);
            host.write_all(b"\x00\x03\r\nhello").unwrap();
            let mut carrier = timeout(LIMIT, &mut accepting)
                .await
                .unwrap()
                .unwrap()
                .carrier;
            accepting = Box::pin(line.accept());
            let mut heard = [0; 9];
            timeout(LIMIT, carrier.read_exact(&mut heard))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(&heard, b"\x00\x03\r\nhello", "in round {round}");
            carrier.write_all(b"\n\x1a\x04there").await.unwrap();
            let mut answer = [0; 8];
            host.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"\n\x1a\x04there");
            host.write_all(b"second").unwrap();
            assert!(
                timeout(AGAIN, &mut accepting).await.is_err(),
                "one user at a time"
            );
            drop(host);
            let mut rest = Vec::new();
            timeout(LIMIT, carrier.read_to_end(&mut rest))
                .await
                .unwrap()
                .unwrap();
        }
    }
}
