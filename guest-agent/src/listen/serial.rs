//! A virtio-serial port, or any line that is one stream without connections.
//!
//! The line is opened anew for each carrier. A virtio-serial port says when the host hangs up;
//! what still stands on the line from before comes in front of the next host's preface, which is
//! found by its magic.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use lkc_protocol::link::{Locality, Whole};
use nix::{errno::Errno, fcntl::OFlag};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
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
                Ok(Some((input, output, heard))) => {
                    let carrier = Port {
                        heard,
                        input,
                        output,
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

/// Both directions of an open line, and what was said on it first.
type Heard = (pipe::Receiver, pipe::Sender, Vec<u8>);

/// Opens the line and waits for bytes; none when nobody is on its other side.
async fn first_words(path: &Path) -> io::Result<Option<Heard>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits())
        .open(path)?;
    make_raw(&file)?;
    // A line behaves as two pipes; it can be opened once only.
    let output = pipe::Sender::from_file_unchecked(file.try_clone()?)?;
    let mut input = pipe::Receiver::from_file_unchecked(file)?;
    let mut heard = vec![0; FIRST_BYTES];
    match input.read(&mut heard).await {
        Ok(0) => Ok(None),
        Ok(count) => {
            heard.truncate(count);
            Ok(Some((input, output, heard)))
        }
        Err(error) if is_hangup(&error) => Ok(None),
        Err(error) => Err(error),
    }
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

/// A terminal says so when nobody holds its other side any more.
fn is_hangup(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EIO as i32)
}

/// The line in use.
#[derive(Debug)]
struct Port {
    /// What the host said while it was waited for.
    heard: Vec<u8>,
    input: pipe::Receiver,
    output: pipe::Sender,
    _used: OwnedSemaphorePermit,
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.heard.is_empty() {
            let count = self.heard.len().min(buffer.remaining());
            buffer.put_slice(&self.heard[..count]);
            self.heard.drain(..count);
            return Poll::Ready(Ok(()));
        }
        match ready!(Pin::new(&mut self.input).poll_read(context, buffer)) {
            Err(error) if is_hangup(&error) => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.output).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::fs::symlink,
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
