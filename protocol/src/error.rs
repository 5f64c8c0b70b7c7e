//! Codes that end a stream or a link, each with its sentence.

use std::fmt;

use thiserror::Error;

macro_rules! codes {
    ($(#[$outer:meta])* pub enum $name:ident { $($variant:ident = $number:literal => $sentence:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!($sentence, ".")] $variant,)*
            /// A code that this version does not know.
            Other(u16),
        }

        impl $name {
            /// Every code of this version with its number and sentence, as `PROTOCOL.md §8` lists them.
            pub const TABLE: &'static [(u16, &'static str, &'static str)] =
                &[$(($number, stringify!($variant), $sentence),)*];

            /// Number on the wire.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            /// The code with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => formatter.pad($sentence),)*
                    Self::Other(number) => write!(formatter, "code {number}, unknown to this version"),
                }
            }
        }
    };
}

codes! {
    /// Why a link ends.
    pub enum GoAwayCode {
        Closing = 0 => "the peer is closing the link",
        MalformedFrame = 1 => "a frame is malformed",
        FrameTooLong = 2 => "a frame is longer than the receiver allows",
        UnknownFrame = 3 => "a frame of an unknown kind",
        BadStreamId = 4 => "a stream id is of the wrong parity, out of order or was never opened",
        CreditExceeded = 5 => "more data than the receiver gave credit for",
        CreditOverflow = 6 => "more credit than a stream can hold",
        WrongState = 7 => "a frame that the stream's state does not allow",
        TooManyOpens = 8 => "streams are opened faster than the receiver allows",
        TooManyResets = 9 => "streams are reset faster than the receiver allows",
        PeerSilent = 10 => "nothing was heard from the peer for too long",
        TooManyPings = 11 => "pings come faster than the receiver allows",
    }
}

codes! {
    /// Why a stream is reset.
    pub enum ResetCode {
        Cancelled = 0 => "no longer wanted",
        ConnectionReset = 1 => "the connection behind the stream was reset",
        Failed = 2 => "the operation behind the stream failed",
        Malformed = 3 => "a message on the stream is malformed",
        LinkLost = 4 => "the link ended",
    }
}

codes! {
    /// Why a request is refused.
    pub enum RefusalCode {
        Unsupported = 1 => "this version does not know the request",
        Denied = 2 => "the policy does not allow it",
        Unreachable = 3 => "the target refused the connection",
        Timeout = 4 => "the target did not answer in time",
        Invalid = 5 => "the request cannot be used",
        Busy = 6 => "too much is going on at once",
        Failed = 7 => "it was tried and failed",
        Unresolved = 8 => "the name has no address",
        InUse = 9 => "the address is in use",
        NoRoute = 10 => "no route leads to the target",
    }
}

/// A request refused: a class to branch on, a text for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", if text.is_empty() { code.to_string() } else { text.clone() })]
pub struct Refusal {
    /// Class.
    pub code: RefusalCode,
    /// For people; from a peer, so sanitise before printing.
    pub text: String,
}

impl Refusal {
    /// A refusal with its reason.
    #[must_use]
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// The peer broke a rule, or the link has to end for another reason that we give it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code} ({detail})")]
pub struct ProtocolError {
    /// What the GoAway says.
    pub code: GoAwayCode,
    /// What was seen.
    pub detail: String,
}

impl ProtocolError {
    pub(crate) fn new(code: GoAwayCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}
