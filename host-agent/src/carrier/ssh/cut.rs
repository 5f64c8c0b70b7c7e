//! A byte stream that can be cut from outside.
//!
//! russh keeps the transport of a connection in a task of its own, which ends only when the
//! transport does. Whoever lets go of the connection cuts it, so that the task, its descriptors and
//! the connections below it go at once, whatever the other end does.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// The bytes of a transport: a TCP connection, a channel, a child's input and output.
pub(super) type Bytes = Box<dyn Transport>;

/// What a connection can run over.
pub(super) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// A transport that ends when its guard is dropped.
///
/// What is written to an other end that has gone is lost without an error: the last words of that
/// end may still be there to be read, and russh looks no further once a write has failed.
pub(super) struct Cuttable {
    bytes: Option<Bytes>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// `bytes`, and what cuts them when it is dropped.
pub(super) fn cuttable(bytes: Bytes) -> (Cuttable, DropGuard) {
    let token = CancellationToken::new();
    let cuttable = Cuttable {
        bytes: Some(bytes),
        cut: Box::pin(token.clone().cancelled_owned()),
    };
    (cuttable, token.drop_guard())
}

impl Cuttable {
    /// The transport, unless it was cut. Wakes the task when it is.
    fn bytes(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut Bytes>> {
        if self.bytes.is_some() && self.cut.as_mut().poll(context).is_ready() {
            self.bytes = None;
        }
        self.bytes
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut().bytes(context) {
            Ok(bytes) => bytes.poll_read(context, buffer),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut().bytes(context) {
            Ok(bytes) => match bytes.poll_write(context, buffer) {
                Poll::Ready(Err(error)) if is_gone(&error) => Poll::Ready(Ok(buffer.len())),
                written => written,
            },
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().bytes(context) {
            Ok(bytes) => bytes.poll_flush(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().bytes(context) {
            Ok(bytes) => bytes.poll_shutdown(context),
            Err(_) => Poll::Ready(Ok(())),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn last_words_are_read_after_a_write_that_nobody_takes() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut cuttable, _guard) = cuttable(Box::new(near));
        far.write_all(b"too many failures").await.unwrap();
        drop(far);
        cuttable.write_all(b"one more key").await.unwrap();
        let mut words = String::new();
        cuttable.read_to_string(&mut words).await.unwrap();
        assert_eq!(words, "too many failures");
    }

    #[tokio::test]
    async fn a_cut_ends_a_read_a_full_write_and_the_other_end() {
        let (near, mut far) = tokio::io::duplex(8);
        let (cuttable, guard) = cuttable(Box::new(near));
        let (mut reader, mut writer) = tokio::io::split(cuttable);
        let reading = tokio::spawn(async move { reader.read_u8().await });
        writer.write_all(b"ping").await.unwrap();
        let writing = tokio::spawn(async move { writer.write_all(&[0; 64]).await });
        let mut ping = [0; 4];
        far.read_exact(&mut ping).await.unwrap();
        drop(guard);
        for ended in [reading.await.unwrap().map(drop), writing.await.unwrap()] {
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        }
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
    }
}
