//! The bytes of a connected carrier, whatever kind it is.

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use lkc_protocol::handover::HandoverCarrier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The bytes of a connected carrier.
pub struct CarrierStream(Kind);

enum Kind {
    /// Takes descriptors along.
    Unix(HandoverCarrier),
    /// Takes bytes only.
    Bytes(Box<dyn Duplex>),
}

impl CarrierStream {
    /// A stream that carries bytes only.
    pub(super) fn bytes(stream: impl Duplex + 'static) -> Self {
        Self(Kind::Bytes(Box::new(stream)))
    }

    fn inner(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.0 {
            Kind::Unix(stream) => Pin::new(stream),
            Kind::Bytes(stream) => Pin::new(stream),
        }
    }
}

impl From<HandoverCarrier> for CarrierStream {
    fn from(stream: HandoverCarrier) -> Self {
        Self(Kind::Unix(stream))
    }
}

impl fmt::Debug for CarrierStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            Kind::Unix(_) => "CarrierStream(unix)",
            Kind::Bytes(_) => "CarrierStream(bytes)",
        })
    }
}

impl AsyncRead for CarrierStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.inner().poll_read(context, buffer)
    }
}

impl AsyncWrite for CarrierStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Unix(stream) => stream.is_write_vectored(),
            Kind::Bytes(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(context)
    }
}
