//! The bytes of a link after the handshake: sealed by TLS, or plain where both ends agreed.

use std::io::{BufRead, Write};

use bytes::BytesMut;
use rustls::Connection;
use thiserror::Error;

/// Seals what goes out and opens what comes in.
#[derive(Debug)]
pub enum Channel {
    /// As it is.
    Plain,
    /// In TLS records.
    Tls(Box<Connection>),
}

/// Why sealed bytes cannot be opened.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// TLS says so.
    #[error("TLS failed: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS takes no more.
    #[error("TLS takes no more bytes")]
    Full,
}

impl Channel {
    pub(super) fn tls(connection: Connection) -> Self {
        Self::Tls(Box::new(connection))
    }

    /// Whether bytes are sealed.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Opens all of `sealed` and appends the result to `clear`.
    ///
    /// # Errors
    /// `Tls` when a record is forged or malformed. The link is over then.
    pub fn open(
        &mut self,
        sealed: &mut BytesMut,
        clear: &mut BytesMut,
    ) -> Result<(), ChannelError> {
        match self {
            Self::Plain => {
                if clear.is_empty() {
                    std::mem::swap(sealed, clear);
                } else {
                    clear.extend_from_slice(sealed);
                    sealed.clear();
                }
            }
            Self::Tls(tls) => {
                let taken = std::mem::take(sealed);
                let mut rest = &taken[..];
                while !rest.is_empty() {
                    let count = tls.read_tls(&mut rest).map_err(|_| ChannelError::Full)?;
                    if count == 0 {
                        return Err(ChannelError::Full);
                    }
                    tls.process_new_packets()?;
                    let mut reader = tls.reader();
                    // An error says that nothing is left, or that nothing will come.
                    while let Ok(opened @ [_, ..]) = reader.fill_buf() {
                        clear.extend_from_slice(opened);
                        let count = opened.len();
                        reader.consume(count);
                    }
                }
            }
        }
        Ok(())
    }

    /// Seals `clear` and appends the result to `sealed`. Only for an encrypted channel; a plain
    /// one sends its chunks as they are. Once opening has failed nothing is sealed any more, and what
    /// is appended is the alert that tells the other end.
    pub fn seal(&mut self, clear: &[u8], sealed: &mut Vec<u8>) {
        match self {
            Self::Plain => sealed.extend_from_slice(clear),
            Self::Tls(tls) => {
                // The buffer has no limit, so that only a connection that has failed takes nothing.
                let _ = tls.writer().write_all(clear);
                // Writing to a Vec cannot fail.
                while tls.wants_write() {
                    if tls.write_tls(sealed).is_err() {
                        break;
                    }
                }
            }
        }
    }
}
