//! A unix socket on whose first bytes one end of the pair travels.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::UnixStream,
};

use super::{
    giver::Offered,
    pair::{PairEnd, receive_with, send_with},
    taker::Expected,
};

/// A carrier that takes the pair along.
#[derive(Debug)]
pub struct HandoverCarrier {
    stream: UnixStream,
    with_first_bytes: WithFirstBytes,
}

#[derive(Debug)]
enum WithFirstBytes {
    Send(OwnedFd),
    Receive(Arc<Mutex<Option<OwnedFd>>>),
    Nothing,
}

/// The guest's end of a carrier: the host gets its end of a pair with the first bytes.
///
/// # Errors
/// When no pair can be made.
pub fn offer(stream: UnixStream) -> io::Result<(HandoverCarrier, Offered)> {
    let (ours, theirs) = PairEnd::pair()?;
    let with_first_bytes = WithFirstBytes::Send(theirs.into());
    let carrier = HandoverCarrier {
        stream,
        with_first_bytes,
    };
    Ok((carrier, Offered(ours)))
}

/// The host's end of a carrier: keeps what comes with the guest's first bytes.
#[must_use]
pub fn take(stream: UnixStream) -> (HandoverCarrier, Expected) {
    let slot = Arc::new(Mutex::new(None));
    let carrier = HandoverCarrier {
        stream,
        with_first_bytes: WithFirstBytes::Receive(Arc::clone(&slot)),
    };
    (carrier, Expected(slot))
}

impl AsyncRead for HandoverCarrier {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let WithFirstBytes::Receive(slot) = &self.with_first_bytes else {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        };
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let received = self.stream.try_io(Interest::READABLE, || {
                receive_with(self.stream.as_fd(), buffer.initialize_unfilled())
            });
            match received {
                Ok((count, descriptor)) => {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = descriptor;
                    buffer.advance(count);
                    self.with_first_bytes = WithFirstBytes::Nothing;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for HandoverCarrier {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let WithFirstBytes::Send(descriptor) = &self.with_first_bytes else {
            return Pin::new(&mut self.stream).poll_write(context, bytes);
        };
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let sent = self.stream.try_io(Interest::WRITABLE, || {
                send_with(self.stream.as_fd(), bytes, Some(descriptor.as_fd()))
            });
            match sent {
                Ok(count) => {
                    self.with_first_bytes = WithFirstBytes::Nothing;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if matches!(self.with_first_bytes, WithFirstBytes::Send(_)) {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
