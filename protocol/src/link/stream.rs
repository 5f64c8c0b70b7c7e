//! A stream of a link, as bytes or as messages.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared::{Shared, reset_is_link_loss};
use crate::{
    chunks::Chunks,
    codec::{self, DecodeError, ENVELOPE_LENGTH, Envelope, RawMessage},
    error::ResetCode,
    frame::StreamId,
    message::Body,
    session::{Read, Write},
};

/// A stream. As `AsyncRead` and `AsyncWrite` it behaves as a TCP connection does: `shutdown` is
/// the half-close, a drop before both directions ended is a reset.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: StreamId,
    /// Bytes taken from the session and not handed out yet.
    pending: BytesMut,
}

/// Why a stream gives or takes no more.
#[derive(Debug, Error)]
pub enum StreamError {
    /// It was reset.
    #[error("the stream was reset: {0}")]
    Reset(ResetCode),
    /// The link ended.
    #[error("the link is down")]
    LinkDown,
    /// It ended within a message.
    #[error("the stream ended within a message")]
    Truncated,
    /// A message on it cannot be read.
    #[error(transparent)]
    Message(#[from] DecodeError),
    /// This direction was finished by us.
    #[error("this direction of the stream is finished")]
    Finished,
}

impl StreamError {
    fn from_reset(code: ResetCode) -> Self {
        if reset_is_link_loss(code) {
            Self::LinkDown
        } else {
            Self::Reset(code)
        }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match error {
            StreamError::Reset(_) | StreamError::LinkDown => io::ErrorKind::ConnectionReset,
            StreamError::Truncated => io::ErrorKind::UnexpectedEof,
            StreamError::Message(_) => io::ErrorKind::InvalidData,
            StreamError::Finished => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}

impl Stream {
    pub(super) fn new(shared: Arc<Shared>, id: StreamId) -> Self {
        Self {
            shared,
            id,
            pending: BytesMut::new(),
        }
    }

    /// Its number, for logs.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Sends a message. Not cancel-safe only in that a cancelled call may not have sent it.
    ///
    /// # Errors
    /// `Reset`, `LinkDown` or `Finished`.
    pub async fn send<M: Body>(&mut self, message: &M) -> Result<(), StreamError> {
        self.halves().1.write(codec::encode(message)).await
    }

    /// Receives a message of one kind; none at the clean end. Cancel-safe.
    ///
    /// # Errors
    /// `Reset`, `LinkDown`, `Truncated` or `Message`.
    pub async fn receive<M: Body>(&mut self) -> Result<Option<M>, StreamError> {
        match self.receive_raw().await? {
            Some(raw) => Ok(Some(raw.decode()?)),
            None => Ok(None),
        }
    }

    /// Receives a message of any kind; none at the clean end. Cancel-safe.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub async fn receive_raw(&mut self) -> Result<Option<RawMessage>, StreamError> {
        loop {
            if self.pending.len() >= ENVELOPE_LENGTH {
                let length = Envelope::parse(&self.pending)?.message_length();
                if self.pending.len() >= length {
                    let message = self.pending.split_to(length).freeze();
                    return Ok(Some(RawMessage::parse(&message)?));
                }
            }
            let next = poll_fn(|context| poll_read(&self.shared, self.id, context)).await?;
            match next {
                Some(bytes) => self.pending.extend_from_slice(&bytes),
                None if self.pending.is_empty() => return Ok(None),
                None => return Err(StreamError::Truncated),
            }
        }
    }

    /// Says that no more follows: the half-close.
    pub fn finish(&self) {
        self.shared.with(|inner| inner.session.finish(self.id));
    }

    /// Ends the stream in both directions. What is not sent yet is lost, unless it was
    /// [`flushed`](WriteHalf::flushed) first.
    pub fn reset(&self, code: ResetCode) {
        self.shared.with(|inner| inner.session.reset(self.id, code));
    }

    /// The two directions, to use at once. Bytes that [`receive`](Self::receive) took are not seen.
    #[must_use]
    pub fn halves(&self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf { stream: self }, WriteHalf { stream: self })
    }

    /// For an answer that is all there is to say: what is queued is sent, then the end.
    pub(super) fn finish_and_release(self) {
        self.finish();
        self.shared.with(|inner| inner.session.drain(self.id));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.with(|inner| inner.release(self.id));
    }
}

/// Bytes and pieces that are read at once, at most, unless the last piece has more: they were in the
/// cache when they came.
const CHUNKS_BYTES: usize = 256 * 1024;
const CHUNKS: usize = 32;

/// The reading direction, without copies.
#[derive(Debug, Clone, Copy)]
pub struct ReadHalf<'a> {
    stream: &'a Stream,
}

impl ReadHalf<'_> {
    /// The next bytes; none at the clean end. What came before a reset comes first, its end
    /// included. Cancel-safe.
    ///
    /// # Errors
    /// `Reset` or `LinkDown`.
    pub async fn read(&self) -> Result<Option<Bytes>, StreamError> {
        poll_fn(|context| poll_read(&self.stream.shared, self.stream.id, context)).await
    }

    /// Appends the next bytes to `chunks` as they came, some hundred kilobytes at most.
    /// Whether there were any: none come at the clean end. Otherwise as [`read`](Self::read).
    ///
    /// # Errors
    /// `Reset` or `LinkDown`.
    pub async fn read_chunks(&self, chunks: &mut Chunks) -> Result<bool, StreamError> {
        let Some(first) = self.read().await? else {
            return Ok(false);
        };
        chunks.push(first);
        let mut inner = self.stream.shared.lock();
        while chunks.len() < CHUNKS_BYTES && chunks.count() < CHUNKS {
            match inner.session.read_on(self.stream.id) {
                Some(bytes) => chunks.push(bytes),
                None => break,
            }
        }
        let waker = inner.wanted_driver();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(true)
    }

    /// Waits for the reset of the stream, whatever is still to be read. For whoever does not read
    /// meanwhile; cancel-safe.
    pub async fn reset(&self) -> StreamError {
        let id = self.stream.id;
        poll_fn(|context| {
            let mut inner = self.stream.shared.lock();
            if let Some(code) = inner.session.reset_of(id) {
                return Poll::Ready(StreamError::from_reset(code));
            }
            inner.resets.insert(id, context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// The writing direction, without copies.
#[derive(Debug, Clone, Copy)]
pub struct WriteHalf<'a> {
    stream: &'a Stream,
}

impl WriteHalf<'_> {
    /// Queues bytes, once there is room.
    ///
    /// # Errors
    /// `Reset`, `LinkDown` or `Finished`.
    pub async fn write(&self, bytes: Bytes) -> Result<(), StreamError> {
        poll_fn(|context| poll_write(&self.stream.shared, self.stream.id, &bytes, context)).await
    }

    /// Waits until everything that was queued, the end included, is sent or the stream is over.
    /// Cancel-safe.
    pub async fn flushed(&self) {
        let id = self.stream.id;
        poll_fn(|context| {
            let mut inner = self.stream.shared.lock();
            if inner.session.flush(id) == 0 {
                return Poll::Ready(());
            }
            inner.writers.insert(id, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Bytes that are queued and not sent, an end counted as one more.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.stream.shared.lock().session.flush(self.stream.id)
    }

    /// Queues bytes if there is room now, all of them or none. Whether there was.
    ///
    /// # Errors
    /// `Reset`, `LinkDown` or `Finished`.
    pub fn try_write(&self, bytes: Bytes) -> Result<bool, StreamError> {
        let written = self
            .stream
            .shared
            .with(|inner| inner.session.write(self.stream.id, bytes));
        match written {
            Write::Queued => Ok(true),
            Write::Blocked => Ok(false),
            Write::Finished => Err(StreamError::Finished),
            Write::Reset(code) => Err(StreamError::from_reset(code)),
        }
    }
}

fn poll_read(
    shared: &Shared,
    id: StreamId,
    context: &Context<'_>,
) -> Poll<Result<Option<Bytes>, StreamError>> {
    let (read, wakers) = {
        let mut inner = shared.lock();
        let read = inner.session.read(id);
        if read == Read::Blocked {
            inner.readers.insert(id, context.waker().clone());
            return Poll::Pending;
        }
        // Reading may give credit back, which the driver sends.
        (read, inner.wanted_driver())
    };
    if let Some(waker) = wakers {
        waker.wake();
    }
    match read {
        Read::Data(bytes) => Poll::Ready(Ok(Some(bytes))),
        Read::End => Poll::Ready(Ok(None)),
        Read::Reset(code) => Poll::Ready(Err(StreamError::from_reset(code))),
        Read::Blocked => Poll::Pending,
    }
}

fn poll_write(
    shared: &Shared,
    id: StreamId,
    bytes: &Bytes,
    context: &Context<'_>,
) -> Poll<Result<(), StreamError>> {
    let (written, waker) = {
        let mut inner = shared.lock();
        let written = inner.session.write(id, bytes.clone());
        if written == Write::Blocked {
            inner.writers.insert(id, context.waker().clone());
            return Poll::Pending;
        }
        (written, inner.wanted_driver())
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    match written {
        Write::Queued => Poll::Ready(Ok(())),
        Write::Finished => Poll::Ready(Err(StreamError::Finished)),
        Write::Reset(code) => Poll::Ready(Err(StreamError::from_reset(code))),
        Write::Blocked => Poll::Pending,
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.pending.is_empty() {
            match ready!(poll_read(&self.shared, self.id, context))? {
                Some(bytes) => self.pending = BytesMut::from(bytes),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = buffer.remaining().min(self.pending.len());
        buffer.put_slice(&self.pending[..count]);
        self.pending.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        /// Copied at once, so that a large write does not queue beyond the stream's buffer.
        const CHUNK: usize = 64 * 1024;
        let chunk = Bytes::copy_from_slice(&bytes[..bytes.len().min(CHUNK)]);
        ready!(poll_write(&self.shared, self.id, &chunk, context))?;
        Poll::Ready(Ok(chunk.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.finish();
        Poll::Ready(Ok(()))
    }
}
