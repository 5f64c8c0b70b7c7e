//! A connection that acknowledges small pieces at once.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bytes of a read from which on its acknowledgement is left to the kernel, which sends one for
/// every two full segments.
const LARGE: usize = 4096;

/// A TCP connection that does not wait before it acknowledges what is small.
///
/// The kernel keeps an acknowledgement back, up to 40 ms, for bytes that it could go with. An sshd
/// keeps the next small packet back until the last one is acknowledged (RFC 896), and a forwarded
/// socket's credit comes in such. An end that waits for credit has no bytes for either to go with:
/// each window took 40 ms.
#[derive(Debug)]
pub(super) struct Prompt {
    stream: TcpStream,
}

impl Prompt {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self { stream }
    }

    /// Linux forgets the wish with what it acknowledges. One that cannot be had costs time only.
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        if let Err(error) = self.stream.set_quickack(true) {
            tracing::debug!(%error, "acknowledgements wait");
        }
    }

    /// The kernel decides, where it cannot be told.
    #[cfg(not(target_os = "linux"))]
    const fn acknowledge(&self) {}
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if (1..LARGE).contains(&(buffer.filled().len() - before)) {
            self.acknowledge();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_small_piece_is_acknowledged_at_once_and_a_large_one_as_the_kernel_likes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut near, mut far) = (Prompt::new(near.unwrap()), far.unwrap().0);
        for (size, at_once) in [(1, true), (LARGE - 1, true), (LARGE, false)] {
            near.stream.set_quickack(false).unwrap();
            far.write_all(&vec![7; size]).await.unwrap();
            let mut read = vec![0; size];
            // Whole, or it would be read in several small pieces.
            while near.stream.peek(&mut read).await.unwrap() < size {}
            timeout(LIMIT, near.read_exact(&mut read))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(near.stream.quickack().unwrap(), at_once, "{size} bytes");
        }
    }
}
