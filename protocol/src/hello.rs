//! What the ends tell each other about themselves, inside TLS, both at once. `PROTOCOL.md §4`.
//!
//! Encoded by hand and frozen: later versions append type-length-value fields, which this one
//! skips, because a hello must be readable by every version.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

use crate::version::{CAPABILITY, OLDEST_CAPABILITY};

/// Longest hello in bytes, its length prefix left out.
pub const MAX_LENGTH: usize = 1024;

const FLAG_PLAIN: u8 = 1;

const CUT: HelloError = HelloError::Malformed("it is cut short");

/// Which end of the link one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The host: connects, asks, and numbers its streams odd.
    Host,
    /// The guest: listens, answers, and numbers its streams even.
    Guest,
}

/// What an end says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Capability version that it speaks.
    pub capability: u32,
    /// Oldest capability version that it works with.
    pub oldest_capability: u32,
    /// Which end it is.
    pub role: Role,
    /// Whether it is willing to go on without encryption once authenticated.
    pub plain: bool,
    /// Longest payload of a data frame that it takes, in bytes.
    pub max_frame: u32,
    /// Streams that it lets the other end have open at once.
    pub max_streams: u32,
    /// Identifies one boot of its operating system.
    pub boot_id: [u8; 16],
    /// Its build version, `0.1.0`.
    pub version: String,
    /// Its node's or host's name.
    pub node: String,
}

/// Why a hello cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HelloError {
    /// Not a hello.
    #[error("malformed hello: {0}")]
    Malformed(&'static str),
    /// Both ends claim the same role.
    #[error("both ends claim to be the {0}")]
    SameRole(&'static str),
    /// The other end is too old for this one.
    #[error(
        "the other end is {version} (capability {capability}), this one needs capability {OLDEST_CAPABILITY} or later: upgrade the other end"
    )]
    TooOld {
        /// Its build version.
        version: String,
        /// Its capability version.
        capability: u32,
    },
    /// This end is too old for the other one.
    #[error(
        "the other end is {version} and needs capability {oldest} or later, this one has {CAPABILITY}: upgrade this end"
    )]
    TooNew {
        /// Its build version.
        version: String,
        /// Oldest capability version that it works with.
        oldest: u32,
    },
}

impl Hello {
    /// Encodes it with its length in front.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(128);
        body.put_u32(self.capability);
        body.put_u32(self.oldest_capability);
        body.put_u8(match self.role {
            Role::Host => 1,
            Role::Guest => 2,
        });
        body.put_u8(if self.plain { FLAG_PLAIN } else { 0 });
        body.put_u16(0);
        body.put_u32(self.max_frame);
        body.put_u32(self.max_streams);
        body.extend_from_slice(&self.boot_id);
        put_text(&mut body, &self.version);
        put_text(&mut body, &self.node);
        let mut bytes = BytesMut::with_capacity(body.len() + 2);
        bytes.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
        bytes.extend_from_slice(&body);
        bytes.freeze()
    }

    /// Takes one hello off `input`; none when more bytes are needed.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(input: &mut BytesMut) -> Result<Option<Self>, HelloError> {
        let Some(prefix) = input.first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*prefix));
        if length > MAX_LENGTH {
            return Err(HelloError::Malformed("it is too long"));
        }
        if input.len() < 2 + length {
            return Ok(None);
        }
        input.advance(2);
        let mut body = input.split_to(length).freeze();
        Self::decode_body(&mut body).map(Some)
    }

    fn decode_body(body: &mut Bytes) -> Result<Self, HelloError> {
        let capability = body.try_get_u32().map_err(|_| CUT)?;
        let oldest_capability = body.try_get_u32().map_err(|_| CUT)?;
        let role = match body.try_get_u8().map_err(|_| CUT)? {
            1 => Role::Host,
            2 => Role::Guest,
            _ => return Err(HelloError::Malformed("its role is neither host nor guest")),
        };
        let flags = body.try_get_u8().map_err(|_| CUT)?;
        body.try_get_u16().map_err(|_| CUT)?;
        let max_frame = body.try_get_u32().map_err(|_| CUT)?;
        let max_streams = body.try_get_u32().map_err(|_| CUT)?;
        let mut boot_id = [0; 16];
        body.try_copy_to_slice(&mut boot_id).map_err(|_| CUT)?;
        let version = take_text(body)?;
        let node = take_text(body)?;
        if max_frame == 0 || max_streams == 0 {
            return Err(HelloError::Malformed("a limit of zero"));
        }
        let plain = flags & FLAG_PLAIN != 0;
        Ok(Self {
            capability,
            oldest_capability,
            role,
            plain,
            max_frame,
            max_streams,
            boot_id,
            version,
            node,
        })
    }

    /// Checks that `self`, which came from the other end, can work with an end of role `ours`.
    ///
    /// # Errors
    /// `SameRole`, `TooOld` or `TooNew`.
    pub fn check(&self, ours: Role) -> Result<(), HelloError> {
        if self.role == ours {
            let name = if ours == Role::Host { "host" } else { "guest" };
            return Err(HelloError::SameRole(name));
        }
        if self.capability < OLDEST_CAPABILITY {
            let (version, capability) = (self.version.clone(), self.capability);
            return Err(HelloError::TooOld {
                version,
                capability,
            });
        }
        if self.oldest_capability > CAPABILITY {
            let (version, oldest) = (self.version.clone(), self.oldest_capability);
            return Err(HelloError::TooNew { version, oldest });
        }
        Ok(())
    }
}

fn put_text(body: &mut BytesMut, text: &str) {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    body.put_u8(u8::try_from(end).unwrap_or(u8::MAX));
    body.extend_from_slice(&text.as_bytes()[..end]);
}

fn take_text(body: &mut Bytes) -> Result<String, HelloError> {
    let length = usize::from(body.try_get_u8().map_err(|_| CUT)?);
    if body.remaining() < length {
        return Err(CUT);
    }
    String::from_utf8(body.split_to(length).to_vec())
        .map_err(|_| HelloError::Malformed("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Hello {
        Hello {
            capability: 1,
            oldest_capability: 1,
            role: Role::Guest,
            plain: true,
            max_frame: 65536,
            max_streams: 16384,
            boot_id: [3; 16],
            version: "0.1.0".to_owned(),
            node: "k3s-dev".to_owned(),
        }
    }

    #[test]
    fn a_hello_survives_and_later_fields_are_skipped() {
        let mut bytes = BytesMut::from(&sample().encode()[..]);
        assert_eq!(Hello::decode(&mut bytes), Ok(Some(sample())));
        assert!(bytes.is_empty());
        let mut longer = BytesMut::from(&sample().encode()[..]);
        longer.extend_from_slice(&[0, 9, 0, 2, 1, 2]);
        let length = u16::from_be_bytes([longer[0], longer[1]]) + 6;
        longer[..2].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Hello::decode(&mut longer), Ok(Some(sample())));
    }

    #[test]
    fn every_cut_is_noticed() {
        let whole = sample().encode();
        for end in 0..whole.len() {
            assert_eq!(
                Hello::decode(&mut BytesMut::from(&whole[..end])),
                Ok(None),
                "cut at {end}"
            );
            if end >= 2 {
                let mut short = BytesMut::from(&whole[..end]);
                let length = u16::try_from(end - 2).unwrap();
                short[..2].copy_from_slice(&length.to_be_bytes());
                assert!(Hello::decode(&mut short).is_err(), "claims {length}");
            }
        }
    }

    #[test]
    fn the_window_says_which_side_is_behind() {
        let old = Hello {
            capability: 0,
            ..sample()
        };
        assert!(matches!(
            old.check(Role::Host),
            Err(HelloError::TooOld { .. })
        ));
        let new = Hello {
            capability: 1000,
            oldest_capability: 900,
            ..sample()
        };
        assert!(matches!(
            new.check(Role::Host),
            Err(HelloError::TooNew { .. })
        ));
        let future = Hello {
            capability: 1000,
            ..sample()
        };
        assert_eq!(future.check(Role::Host), Ok(()));
        assert_eq!(
            sample().check(Role::Guest),
            Err(HelloError::SameRole("guest"))
        );
    }
}
