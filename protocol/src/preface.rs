//! The first 32 bytes of each direction, in clear, frozen for ever. `PROTOCOL.md §2`.
//!
//! The host sends one with a fresh nonce; the guest answers with the same nonce. So either end can
//! skip what a login script printed or what an earlier session left on a serial line, and ends of
//! any two versions can tell each other which versions they speak.

use std::fmt;

use bytes::{Buf, BytesMut};
use thiserror::Error;

use crate::version::{HANDSHAKE, OLDEST_HANDSHAKE};

/// Bytes of a preface.
pub const LENGTH: usize = 32;

/// Bytes of noise that are skipped before giving up. A long message of the day has a few KiB, a
/// stale serial line at most the 64 KiB that its buffers hold.
pub const NOISE_LIMIT: usize = 128 * 1024;

/// Begins with a byte that is no UTF-8 and holds the line endings that text-mode channels mangle.
const MAGIC: [u8; 8] = [0x9e, b'L', b'K', b'C', b'\r', b'\n', 0x1a, 0x00];

const FROM_HOST: u8 = 1;
const FROM_GUEST: u8 = 2;

/// Random bytes that tie the two prefaces of one session together.
pub type Nonce = [u8; 16];

/// The handshake versions that an end speaks, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionWindow {
    /// Oldest.
    pub oldest: u16,
    /// Newest.
    pub newest: u16,
}

impl VersionWindow {
    /// What this build speaks.
    pub const OURS: Self = Self {
        oldest: OLDEST_HANDSHAKE,
        newest: HANDSHAKE,
    };

    /// The newest version that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    /// Whether an end that speaks these is too old for this one.
    #[must_use]
    pub const fn is_behind(self) -> bool {
        self.newest < Self::OURS.oldest
    }
}

impl fmt::Display for VersionWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} to {}", self.oldest, self.newest)
    }
}

/// Why no preface was found.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrefaceError {
    /// Something else is being said on this carrier.
    #[error(
        "{NOISE_LIMIT} bytes of something else came instead of a greeting, beginning with `{sample}`"
    )]
    Noise {
        /// Its first bytes, escaped.
        sample: String,
    },
    /// No handshake version in common.
    #[error("the other end speaks handshake versions {theirs}, this one {}: upgrade {} end", VersionWindow::OURS, if theirs.is_behind() { "the other" } else { "this" })]
    Version {
        /// What the other end speaks.
        theirs: VersionWindow,
    },
}

/// The preface of the host.
#[must_use]
pub fn from_host(nonce: Nonce) -> [u8; LENGTH] {
    encode(FROM_HOST, VersionWindow::OURS, nonce)
}

/// The preface of the guest, with the nonce of the host's.
#[must_use]
pub fn from_guest(nonce: Nonce) -> [u8; LENGTH] {
    encode(FROM_GUEST, VersionWindow::OURS, nonce)
}

fn encode(sender: u8, window: VersionWindow, nonce: Nonce) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = sender;
    bytes[10..12].copy_from_slice(&window.oldest.to_be_bytes());
    bytes[12..14].copy_from_slice(&window.newest.to_be_bytes());
    bytes[16..].copy_from_slice(&nonce);
    bytes
}

/// Finds the other end's preface in what comes in.
#[derive(Debug)]
pub struct PrefaceFinder {
    sender: u8,
    nonce: Option<Nonce>,
    skipped: usize,
    sample: Vec<u8>,
}

impl PrefaceFinder {
    /// For a host that has sent `nonce` and waits for its echo.
    #[must_use]
    pub const fn for_host(nonce: Nonce) -> Self {
        Self {
            sender: FROM_GUEST,
            nonce: Some(nonce),
            skipped: 0,
            sample: Vec::new(),
        }
    }

    /// For a guest that waits for any host.
    #[must_use]
    pub const fn for_guest() -> Self {
        Self {
            sender: FROM_HOST,
            nonce: None,
            skipped: 0,
            sample: Vec::new(),
        }
    }

    /// Looks for the preface in `input` and removes it with everything in front of it. None when
    /// more bytes are needed.
    ///
    /// # Errors
    /// `Noise` over [`NOISE_LIMIT`] bytes, `Version` when the windows do not meet.
    pub fn find(&mut self, input: &mut BytesMut) -> Result<Option<(Nonce, u16)>, PrefaceError> {
        loop {
            let start = input
                .windows(MAGIC.len())
                .position(|window| window == MAGIC);
            let Some(start) = start else {
                let kept = partial_magic_at_end(input);
                self.skip(input, input.len() - kept)?;
                return Ok(None);
            };
            self.skip(input, start)?;
            let Some(preface) = input.first_chunk::<LENGTH>().copied() else {
                return Ok(None);
            };
            let (sender, window, nonce) = decode(&preface);
            if sender != self.sender || self.nonce.is_some_and(|expected| expected != nonce) {
                // A stale greeting, or our own one echoed by a terminal.
                self.skip(input, MAGIC.len())?;
                continue;
            }
            input.advance(LENGTH);
            let version = VersionWindow::OURS
                .common(window)
                .ok_or(PrefaceError::Version { theirs: window })?;
            return Ok(Some((nonce, version)));
        }
    }

    fn skip(&mut self, input: &mut BytesMut, count: usize) -> Result<(), PrefaceError> {
        let room = 48_usize.saturating_sub(self.sample.len());
        self.sample.extend_from_slice(&input[..count.min(room)]);
        input.advance(count);
        self.skipped += count;
        if self.skipped > NOISE_LIMIT {
            return Err(PrefaceError::Noise {
                sample: self.sample.escape_ascii().to_string(),
            });
        }
        Ok(())
    }

    /// The first bytes that were skipped, escaped; empty when there was no noise.
    #[must_use]
    pub fn noise(&self) -> String {
        self.sample.escape_ascii().to_string()
    }
}

fn decode(bytes: &[u8; LENGTH]) -> (u8, VersionWindow, Nonce) {
    let window = VersionWindow {
        oldest: u16::from_be_bytes([bytes[10], bytes[11]]),
        newest: u16::from_be_bytes([bytes[12], bytes[13]]),
    };
    let mut nonce = Nonce::default();
    nonce.copy_from_slice(&bytes[16..]);
    (bytes[8], window, nonce)
}

fn partial_magic_at_end(input: &[u8]) -> usize {
    (1..MAGIC.len())
        .rev()
        .find(|&length| input.ends_with(&MAGIC[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = *b"0123456789abcdef";

    fn find_bytewise(
        finder: &mut PrefaceFinder,
        bytes: &[u8],
    ) -> Result<Option<(Nonce, u16)>, PrefaceError> {
        let mut input = BytesMut::new();
        for &byte in bytes {
            input.extend_from_slice(&[byte]);
            if let Some(found) = finder.find(&mut input)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    #[test]
    fn the_bytes_are_frozen() {
        let expected = "9e4c4b430d0a1a000100000100010000\
                        30313233343536373839616263646566";
        let hex: String = from_host(NONCE)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, expected);
    }

    #[test]
    fn noise_and_stale_greetings_are_skipped() {
        let mut bytes = b"Welcome to NixOS!\r\nLast login: \x9eLK".to_vec();
        bytes.extend_from_slice(&from_host(NONCE));
        bytes.extend_from_slice(&from_guest([7; 16]));
        bytes.extend_from_slice(&MAGIC[..5]);
        bytes.extend_from_slice(&from_guest(NONCE));
        let mut finder = PrefaceFinder::for_host(NONCE);
        assert_eq!(find_bytewise(&mut finder, &bytes), Ok(Some((NONCE, 1))));
        assert!(finder.noise().starts_with("Welcome to NixOS!\\r\\n"));
        let mut whole = BytesMut::from(&bytes[..]);
        whole.extend_from_slice(b"rest");
        assert_eq!(
            PrefaceFinder::for_host(NONCE).find(&mut whole),
            Ok(Some((NONCE, 1)))
        );
        assert_eq!(&whole[..], b"rest");
    }

    #[test]
    fn endless_noise_is_given_up() {
        let mut finder = PrefaceFinder::for_guest();
        let mut input = BytesMut::new();
        let error = loop {
            input.extend_from_slice(&[b'x'; 1000]);
            if let Err(error) = finder.find(&mut input) {
                break error;
            }
        };
        assert!(matches!(error, PrefaceError::Noise { sample } if sample.starts_with("xxx")));
        assert!(finder.skipped <= NOISE_LIMIT + 1000);
    }

    #[test]
    fn versions_that_do_not_meet_are_named() {
        let theirs = VersionWindow {
            oldest: 7,
            newest: 9,
        };
        let mut input = BytesMut::from(&encode(FROM_HOST, theirs, NONCE)[..]);
        let error = PrefaceFinder::for_guest().find(&mut input).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the other end speaks handshake versions 7 to 9, this one 1 to 1: upgrade this end"
        );
        let theirs = VersionWindow {
            oldest: 0,
            newest: 0,
        };
        let error = PrefaceError::Version { theirs };
        assert_eq!(
            error.to_string(),
            "the other end speaks handshake versions 0 to 0, this one 1 to 1: upgrade the other end"
        );
    }
}
