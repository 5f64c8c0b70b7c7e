//! Frames: a fixed header of twelve bytes and a payload. `PROTOCOL.md §5`.
//!
//! `stream: u32 | length: u32 | kind: u8 | flags: u8 | reserved: u16`, big-endian; `length` counts
//! the payload. A frame knows streams and credit, never what is said on them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{GoAwayCode, ProtocolError};

/// Bytes of a header.
pub const HEADER_LENGTH: usize = 12;

/// Longest payload of a frame that is not Data, in bytes: a message with its extension, and the
/// window in front of it.
pub const MAX_CONTROL_PAYLOAD: usize = 4 + 8 + crate::codec::MAX_BODY + 65535;

/// Longest explanation in a Refuse, Reset or GoAway, in bytes.
pub const MAX_TEXT: usize = 1024;

/// Number of a stream. The host's are odd, the guest's even, each end counts up, none is reused;
/// zero is the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The link itself.
    pub const LINK: Self = Self(0);
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(formatter)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal,)*) => {
        /// What a frame does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind with its number, as `PROTOCOL.md §5` lists them.
            pub const TABLE: &'static [(u8, &'static str)] = &[$(($number, stringify!($kind)),)*];

            /// Number on the wire.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$kind => $number,)* }
            }

            const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

kinds! {
    /// Opens a stream: window, request.
    Open = 1,
    /// Accepts one: window, answer.
    Accept = 2,
    /// Refuses one: code, text.
    Refuse = 3,
    /// Bytes of a stream.
    Data = 4,
    /// Room for more bytes: count.
    Credit = 5,
    /// No more bytes in this direction.
    Finish = 6,
    /// The stream is over in both directions: code.
    Reset = 7,
    /// Asks for a Pong with the same payload: eight bytes.
    Ping = 8,
    /// Answers a Ping.
    Pong = 9,
    /// The link is over: code, text.
    GoAway = 10,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The stream that it is about.
    pub stream: StreamId,
    /// Bytes of payload.
    pub length: usize,
    /// What it does.
    pub kind: Kind,
}

impl Header {
    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..4].copy_from_slice(&self.stream.0.to_be_bytes());
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        bytes[8] = self.kind.number();
        bytes
    }

    /// Reads it and checks what can be checked without knowing the stream.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn decode(bytes: &[u8; HEADER_LENGTH], max_data: usize) -> Result<Self, ProtocolError> {
        let stream = StreamId(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
        let Some(kind) = Kind::from_number(bytes[8]) else {
            let detail = format!("kind {} of {length} bytes on stream {stream}", bytes[8]);
            return Err(ProtocolError::new(GoAwayCode::UnknownFrame, detail));
        };
        if bytes[9..] != [0, 0, 0] {
            let detail = format!("{kind:?} with flags {:02x?}", &bytes[9..]);
            return Err(ProtocolError::new(GoAwayCode::MalformedFrame, detail));
        }
        let header = Self {
            stream,
            length,
            kind,
        };
        header.check_length(max_data)?;
        header.check_stream()?;
        Ok(header)
    }

    fn check_length(&self, max_data: usize) -> Result<(), ProtocolError> {
        let legal = match self.kind {
            Kind::Open | Kind::Accept => 4..=MAX_CONTROL_PAYLOAD,
            Kind::Refuse | Kind::GoAway => 2..=2 + MAX_TEXT,
            Kind::Data => 0..=max_data,
            Kind::Credit => 4..=4,
            Kind::Finish => 0..=0,
            Kind::Reset => 2..=2,
            Kind::Ping | Kind::Pong => 8..=8,
        };
        if legal.contains(&self.length) {
            return Ok(());
        }
        let detail = format!("{:?} of {} bytes", self.kind, self.length);
        let code = if self.length > *legal.end() && *legal.end() > 8 {
            GoAwayCode::FrameTooLong
        } else {
            GoAwayCode::MalformedFrame
        };
        Err(ProtocolError::new(code, detail))
    }

    fn check_stream(&self) -> Result<(), ProtocolError> {
        let about_link = matches!(self.kind, Kind::Ping | Kind::Pong | Kind::GoAway);
        if about_link == (self.stream == StreamId::LINK) {
            return Ok(());
        }
        let detail = format!("{:?} on stream {}", self.kind, self.stream);
        Err(ProtocolError::new(GoAwayCode::BadStreamId, detail))
    }
}

/// A whole frame other than Data, ready to send.
pub(crate) fn encode(kind: Kind, stream: StreamId, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut bytes = BytesMut::with_capacity(HEADER_LENGTH + length);
    bytes.put_slice(
        &Header {
            stream,
            length,
            kind,
        }
        .encode(),
    );
    for part in parts {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// A code and a text that is cut to [`MAX_TEXT`] at a character's end.
pub(crate) fn encode_reason(kind: Kind, stream: StreamId, code: u16, text: &str) -> Bytes {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    encode(
        kind,
        stream,
        &[&code.to_be_bytes(), &text.as_bytes()[..end]],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, stream: u32, length: u32, flags: [u8; 3]) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..4].copy_from_slice(&stream.to_be_bytes());
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        bytes[8] = kind;
        bytes[9..].copy_from_slice(&flags);
        bytes
    }

    #[test]
    fn headers_survive() {
        for &(number, _) in Kind::TABLE {
            let kind = Kind::from_number(number).unwrap();
            let stream = StreamId(if number >= 8 { 0 } else { 7 });
            let length = match kind {
                Kind::Finish => 0,
                Kind::Reset | Kind::Refuse | Kind::GoAway => 2,
                Kind::Ping | Kind::Pong => 8,
                _ => 4,
            };
            let header = Header {
                stream,
                length,
                kind,
            };
            assert_eq!(Header::decode(&header.encode(), 65536), Ok(header));
        }
    }

    #[test]
    fn malformed_headers_name_the_rule() {
        let table = [
            (header(0, 1, 0, [0; 3]), GoAwayCode::UnknownFrame),
            (header(11, 1, 0, [0; 3]), GoAwayCode::UnknownFrame),
            (header(255, 1, u32::MAX, [0; 3]), GoAwayCode::UnknownFrame),
            (header(4, 1, 0, [1, 0, 0]), GoAwayCode::MalformedFrame),
            (header(4, 1, 0, [0, 0, 1]), GoAwayCode::MalformedFrame),
            (header(4, 1, 65537, [0; 3]), GoAwayCode::FrameTooLong),
            (header(4, 1, u32::MAX, [0; 3]), GoAwayCode::FrameTooLong),
            (header(1, 1, 3, [0; 3]), GoAwayCode::MalformedFrame),
            (header(1, 1, u32::MAX, [0; 3]), GoAwayCode::FrameTooLong),
            (header(5, 1, 3, [0; 3]), GoAwayCode::MalformedFrame),
            (header(5, 1, 5, [0; 3]), GoAwayCode::MalformedFrame),
            (header(6, 1, 1, [0; 3]), GoAwayCode::MalformedFrame),
            (header(7, 1, 0, [0; 3]), GoAwayCode::MalformedFrame),
            (header(8, 0, 9, [0; 3]), GoAwayCode::MalformedFrame),
            (header(4, 0, 1, [0; 3]), GoAwayCode::BadStreamId),
            (header(8, 1, 8, [0; 3]), GoAwayCode::BadStreamId),
            (header(10, 2, 2, [0; 3]), GoAwayCode::BadStreamId),
        ];
        for (bytes, code) in table {
            let error = Header::decode(&bytes, 65536).unwrap_err();
            assert_eq!(error.code, code, "{bytes:02x?}: {error}");
        }
    }
}
