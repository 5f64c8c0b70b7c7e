//! Message bodies as bytes: the only place that calls `bincode`.
//!
//! A message on the wire is an envelope of eight bytes, a body and an extension:
//! `number: u16 | extension_length: u16 | body_length: u32 | body | extension`, big-endian.
//! The body of a released message never changes shape; what later versions add goes into the
//! extension, which an older reader skips. `PROTOCOL.md §6`.

use bincode::config::{Configuration, LittleEndian, Varint};
use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::message::Body;

/// Largest body in bytes. The largest honest one is a page of log lines or a kubeconfig with a
/// chain of RSA certificates, both well under 64 KiB; four times that leaves room.
pub const MAX_BODY: usize = 256 * 1024;

/// Bytes of an envelope.
pub const ENVELOPE_LENGTH: usize = 8;

type WireConfig = Configuration<LittleEndian, Varint, bincode::config::Limit<MAX_BODY>>;

fn wire_config() -> WireConfig {
    bincode::config::standard().with_limit::<MAX_BODY>()
}

/// Why bytes are not the message that they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The envelope or what it promises is cut short.
    #[error("message cut short: {have} of {need} bytes")]
    Truncated {
        /// Bytes needed.
        need: usize,
        /// Bytes present.
        have: usize,
    },
    /// The body is longer than [`MAX_BODY`].
    #[error("message body of {length} bytes is over the limit of {MAX_BODY}")]
    TooLong {
        /// Claimed length in bytes.
        length: usize,
    },
    /// Another message than the one expected here.
    #[error("message number {found} where {expected} ({name}) belongs")]
    Unexpected {
        /// Number found.
        found: u16,
        /// Number expected.
        expected: u16,
        /// Name of the message expected.
        name: &'static str,
    },
    /// A message number that this version does not know.
    #[error("unknown message number {0}")]
    Unknown(u16),
    /// The body does not have the message's shape.
    #[error("malformed {name} message: {reason}")]
    Malformed {
        /// Name of the message.
        name: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// Bytes are left over behind the body or the extension.
    #[error("{count} stray bytes behind a {name} message")]
    Trailing {
        /// Name of the message.
        name: &'static str,
        /// Bytes left over.
        count: usize,
    },
}

/// The fixed start of every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    /// The message's number in the registry.
    pub number: u16,
    /// Bytes of extension behind the body.
    pub extension_length: usize,
    /// Bytes of body.
    pub body_length: usize,
}

impl Envelope {
    /// Reads an envelope from the start of `bytes`.
    ///
    /// # Errors
    /// `Truncated` with fewer than [`ENVELOPE_LENGTH`] bytes, `TooLong` over [`MAX_BODY`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some((head, _)) = bytes.split_first_chunk::<ENVELOPE_LENGTH>() else {
            return Err(DecodeError::Truncated {
                need: ENVELOPE_LENGTH,
                have: bytes.len(),
            });
        };
        let body_length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if body_length > MAX_BODY {
            return Err(DecodeError::TooLong {
                length: body_length,
            });
        }
        Ok(Self {
            number: u16::from_be_bytes([head[0], head[1]]),
            extension_length: usize::from(u16::from_be_bytes([head[2], head[3]])),
            body_length,
        })
    }

    /// Bytes of the whole message, envelope included.
    #[must_use]
    pub const fn message_length(&self) -> usize {
        ENVELOPE_LENGTH + self.body_length + self.extension_length
    }
}

/// A message whose number is known and whose body is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The message's number in the registry.
    pub number: u16,
    body: Bytes,
}

impl RawMessage {
    /// Splits exactly one message off `bytes`, which must hold nothing else.
    ///
    /// # Errors
    /// `Truncated`, `TooLong`, or `Trailing` when bytes are left over.
    pub fn parse(bytes: &Bytes) -> Result<Self, DecodeError> {
        let envelope = Envelope::parse(bytes)?;
        let need = envelope.message_length();
        if bytes.len() < need {
            return Err(DecodeError::Truncated {
                need,
                have: bytes.len(),
            });
        }
        if bytes.len() > need {
            return Err(DecodeError::Trailing {
                name: "complete",
                count: bytes.len() - need,
            });
        }
        let body = bytes.slice(ENVELOPE_LENGTH..ENVELOPE_LENGTH + envelope.body_length);
        Ok(Self {
            number: envelope.number,
            body,
        })
    }

    /// Decodes the body as `M`.
    ///
    /// # Errors
    /// `Unexpected` when this is another message, `Malformed` or `Trailing` when the body is wrong.
    pub fn decode<M: Body>(&self) -> Result<M, DecodeError> {
        if self.number != M::NUMBER {
            let (found, expected, name) = (self.number, M::NUMBER, M::NAME);
            return Err(DecodeError::Unexpected {
                found,
                expected,
                name,
            });
        }
        decode_body(&self.body)
    }
}

/// Encodes a message: envelope, body, no extension.
///
/// # Panics
/// Never for the types of [`message`](crate::message): their encoding cannot fail. A body over
/// [`MAX_BODY`] is a bug of the sender, which bounds what it puts in; it is cut off by the peer.
#[must_use]
pub fn encode<M: Body>(message: &M) -> Bytes {
    let body = bincode::encode_to_vec(message, bincode::config::standard()).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(ENVELOPE_LENGTH + body.len());
    bytes.put_u16(M::NUMBER);
    bytes.put_u16(0);
    bytes.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&body);
    bytes.freeze()
}

/// Decodes exactly one message of type `M`.
///
/// # Errors
/// As [`RawMessage::parse`] and [`RawMessage::decode`].
pub fn decode<M: Body>(bytes: &Bytes) -> Result<M, DecodeError> {
    RawMessage::parse(bytes)?.decode()
}

fn decode_body<M: Body>(body: &[u8]) -> Result<M, DecodeError> {
    let (message, used) =
        bincode::decode_from_slice::<M, _>(body, wire_config()).map_err(|error| {
            DecodeError::Malformed {
                name: M::NAME,
                reason: sentence(error),
            }
        })?;
    if used != body.len() {
        return Err(DecodeError::Trailing {
            name: M::NAME,
            count: body.len() - used,
        });
    }
    Ok(message)
}

/// The decoder's own words are the names of its types.
fn sentence(error: bincode::error::DecodeError) -> String {
    use bincode::error::DecodeError as Decoder;
    match error {
        Decoder::UnexpectedEnd { .. } => "it is cut short".to_owned(),
        Decoder::LimitExceeded => format!("it claims more than {MAX_BODY} bytes"),
        Decoder::InvalidIntegerType { .. } => "a number is too wide for its field".to_owned(),
        Decoder::InvalidBooleanValue(value) => format!("{value} is no truth value"),
        Decoder::UnexpectedVariant { found, .. } => format!("{found} says neither some nor none"),
        Decoder::Utf8 { .. } => "a text is not UTF-8".to_owned(),
        Decoder::OtherString(reason) => reason,
        other => other.to_string(),
    }
}
