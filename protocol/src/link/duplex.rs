//! Carriers of any kind behind one type.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A carrier of any kind.
pub type AnyCarrier = Box<dyn Duplex>;

impl fmt::Debug for dyn Duplex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Duplex")
    }
}
