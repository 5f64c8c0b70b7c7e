//! Moves a link's bytes: the only code that touches the carrier after the handshake.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    sync::watch,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::shared::Shared;
use crate::{
    error::{GoAwayCode, ProtocolError},
    handshake::Channel,
    session::Transmit,
};

/// Bytes read from the carrier at once: each read wakes who waits for what is in it.
const READ_SIZE: usize = 128 * 1024;

/// Slices of one vectored write; what Linux takes is more, what pays is less.
const SLICES: usize = 32;

/// Rounds of reading and writing before other tasks of the thread get their turn.
const ROUNDS: usize = 32;

/// How long the carrier may take to take what tells the other end why this one ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a link ended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkEnd {
    /// We closed it.
    #[error("closed")]
    Closed,
    /// The other end closed it.
    #[error("closed by the other end")]
    ClosedByPeer,
    /// The other end says that we broke a rule.
    #[error("ended by the other end: {code} ({text})")]
    Blamed {
        /// Which rule.
        code: GoAwayCode,
        /// Its words; sanitise before printing.
        text: String,
    },
    /// The other end broke a rule or fell silent.
    #[error("{0}")]
    Violation(ProtocolError),
    /// The carrier ended or failed.
    #[error("the carrier is gone: {0}")]
    Lost(String),
    /// The driver was dropped.
    #[error("the link was abandoned")]
    Abandoned,
}

/// The future that moves the bytes. It ends with the link; dropping it ends the link.
#[must_use = "a link moves only while its driver runs"]
#[derive(Debug)]
pub struct Driver<C> {
    carrier: C,
    channel: Channel,
    sealed: BytesMut,
    clear: BytesMut,
    /// Whether opened bytes of the handshake's last record wait for the session.
    unread: bool,
    transmit: Transmit,
    needs_flush: bool,
    /// Whether the other end broke a rule and is told which before the end.
    has_last_words: bool,
    timer: Option<Pin<Box<Sleep>>>,
    shared: Arc<Shared>,
    end: watch::Sender<Option<LinkEnd>>,
}

impl<C> Driver<C> {
    pub(super) fn new(
        carrier: C,
        channel: Channel,
        leftover: BytesMut,
        clear: BytesMut,
        shared: Arc<Shared>,
        end: watch::Sender<Option<LinkEnd>>,
    ) -> Self {
        Self {
            carrier,
            channel,
            sealed: leftover,
            unread: !clear.is_empty(),
            clear,
            transmit: Transmit::default(),
            needs_flush: false,
            has_last_words: false,
            timer: None,
            shared,
            end,
        }
    }

    fn conclude(&mut self, end: LinkEnd) -> LinkEnd {
        self.shared.with(|inner| inner.session.end());
        self.end.send_replace(Some(end.clone()));
        end
    }
}

impl<C> Drop for Driver<C> {
    fn drop(&mut self) {
        if self.end.borrow().is_none() {
            self.conclude(LinkEnd::Abandoned);
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Driver<C> {
    /// Runs the link to its end.
    pub async fn run(mut self) -> LinkEnd {
        let end = poll_fn(|context| self.poll(context)).await;
        if self.has_last_words {
            // Not every carrier tells the other end that this one is gone.
            let _ = timeout(LAST_WORDS, poll_fn(|context| self.poll_write(context))).await;
        }
        self.conclude(end)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<LinkEnd> {
        for _ in 0..ROUNDS {
            if let Err(end) = self.take_in() {
                return Poll::Ready(end);
            }
            match self.poll_write(context) {
                Poll::Ready(Ok(())) => return Poll::Ready(LinkEnd::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(LinkEnd::Lost(error.to_string())),
                Poll::Pending => {}
            }
            if let Err(end) = self.poll_timer(context) {
                let _ = self.poll_write(context);
                return Poll::Ready(end);
            }
            match self.poll_fill(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(LinkEnd::Lost("it ended".to_owned())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(LinkEnd::Lost(error.to_string())),
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Opens what was read and gives it to the session.
    fn take_in(&mut self) -> Result<(), LinkEnd> {
        if self.sealed.is_empty() && !self.unread {
            return Ok(());
        }
        self.unread = false;
        if let Err(error) = self.channel.open(&mut self.sealed, &mut self.clear) {
            self.shared.with(|inner| inner.session.end());
            let mut alert = Vec::new();
            self.channel.seal(&[], &mut alert);
            self.transmit.push_sealed(alert);
            self.has_last_words = true;
            return Err(LinkEnd::Lost(error.to_string()));
        }
        let mut inner = self.shared.lock();
        let result = inner
            .session
            .handle_bytes(&mut self.clear, Instant::now().into_std());
        let wakers = inner.dispatch_events();
        let goaway = inner.goaway.take();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        match goaway {
            Some((GoAwayCode::Closing, _)) => Err(LinkEnd::ClosedByPeer),
            Some((code, text)) => Err(LinkEnd::Blamed { code, text }),
            None => result.map_err(|error| {
                self.has_last_words = true;
                LinkEnd::Violation(error)
            }),
        }
    }

    /// Writes until there is nothing left or the carrier takes no more. Ready when the session is
    /// over and its last word is sent.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.transmit.is_empty() {
                let count = std::task::ready!(self.poll_write_once(context))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.transmit.advance(count);
                self.needs_flush = true;
            }
            let ended = self.next_batch(context);
            if !self.transmit.is_empty() {
                continue;
            }
            if self.needs_flush {
                std::task::ready!(Pin::new(&mut self.carrier).poll_flush(context))?;
                self.needs_flush = false;
            }
            return if ended {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
    }

    fn poll_write_once(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = self.transmit.fill(&mut slices);
        Pin::new(&mut self.carrier).poll_write_vectored(context, &slices[..filled])
    }

    /// Takes the next batch from the session, sealed if need be. Whether the session is over.
    fn next_batch(&mut self, context: &Context<'_>) -> bool {
        let mut inner = self.shared.lock();
        inner.session.poll_transmit(&mut self.transmit);
        let wakers = inner.dispatch_events();
        let ended = inner.session.is_ended();
        // With something to send it waits for the carrier, and for nobody here.
        let idle = self.transmit.is_empty();
        inner.driver_waker = idle.then(|| context.waker().clone());
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        if self.channel.is_encrypted() && !self.transmit.is_empty() {
            let mut sealed = Vec::with_capacity(self.transmit.len() + 1024);
            for chunk in self.transmit.take_chunks() {
                self.channel.seal(&chunk, &mut sealed);
            }
            self.transmit.push_sealed(sealed);
        }
        ended
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.sealed.reserve(READ_SIZE);
        let mut room = (&mut self.sealed).limit(READ_SIZE);
        pin!(self.carrier.read_buf(&mut room)).poll(context)
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Result<(), LinkEnd> {
        loop {
            let due = self.shared.lock().session.poll_timeout();
            let Some((due, _reason)) = due else {
                return Ok(());
            };
            let due = Instant::from_std(due);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            // Bytes push the deadline back; the timer is moved only once it fires.
            if timer.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            let now = Instant::now();
            if now >= due {
                let result = self.shared.lock().session.handle_timeout(now.into_std());
                if let Err(error) = result {
                    return Err(LinkEnd::Violation(error));
                }
                // A ping may have to be written.
                context.waker().wake_by_ref();
            }
            let next = self.shared.lock().session.poll_timeout();
            let Some((next, _reason)) = next else {
                return Ok(());
            };
            if let Some(timer) = &mut self.timer {
                timer.as_mut().reset(Instant::from_std(next));
            }
        }
    }
}
