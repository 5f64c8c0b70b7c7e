//! The one data channel of a connection, as a byte stream.
//!
//! One, because a channel that nobody reads stops russh's session and every other channel with it.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use russh::{Channel, ChannelStream, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::connection::Connection;

/// How long an ended channel may take to say why. The reason follows the end in the same breath.
const REASON_DEADLINE: Duration = Duration::from_millis(500);

/// Bytes to and from the other end of a channel, and the connection that it belongs to, which is
/// cut when this is dropped.
///
/// An end that the server explains is an error with its explanation.
pub struct SshStream {
    channel: ChannelStream<Msg>,
    end: End,
    /// Ready, and then not there, when nothing more can be sent: russh leaves a write that waits for
    /// room waiting.
    gone: Option<Wait>,
    connection: Connection,
}

enum End {
    NotYet,
    Explaining(Wait),
    Explained,
}

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

impl SshStream {
    pub(super) fn new(channel: Channel<Msg>, connection: Connection) -> Self {
        Self {
            channel: channel.into_stream(),
            end: End::NotYet,
            gone: Some(Box::pin(connection.story().clone().ended())),
            connection,
        }
    }

    /// What the servers on the way show to everybody who connects, the nearest first; safe to
    /// print.
    #[must_use]
    pub fn banners(&self) -> &[String] {
        self.connection.banners()
    }

    fn explanation(&self) -> Option<io::Error> {
        self.connection
            .story()
            .end()
            .map(|why| io::Error::new(io::ErrorKind::ConnectionAborted, why))
    }
}

impl AsyncRead for SshStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.end {
                End::NotYet => {
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut this.channel).poll_read(context, buffer))?;
                    if buffer.filled().len() > before || buffer.remaining() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    let ended = this.connection.story().clone().ended();
                    this.end = End::Explaining(Box::pin(async {
                        let _ = timeout(REASON_DEADLINE, ended).await;
                    }));
                }
                End::Explaining(wait) => {
                    ready!(wait.as_mut().poll(context));
                    this.end = End::Explained;
                    return Poll::Ready(this.explanation().map_or(Ok(()), Err));
                }
                End::Explained => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for SshStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let this = self.get_mut();
        let error = if let Some(gone) = &mut this.gone {
            match Pin::new(&mut this.channel).poll_write(context, buffer) {
                Poll::Ready(Ok(count)) => return Poll::Ready(Ok(count)),
                Poll::Ready(Err(error)) => error,
                Poll::Pending => {
                    ready!(gone.as_mut().poll(context));
                    this.gone = None;
                    io::ErrorKind::BrokenPipe.into()
                }
            }
        } else {
            io::ErrorKind::BrokenPipe.into()
        };
        Poll::Ready(Err(this.explanation().unwrap_or(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().channel).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().channel).poll_shutdown(context)
    }
}

impl fmt::Debug for SshStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SshStream({})", self.connection.hop())
    }
}
