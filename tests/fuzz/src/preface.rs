//! The search for the preface: what is found does not depend on how the bytes arrive, and is what a
//! search of the whole stream by its description in PROTOCOL.md §2 finds.

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use lkc_protocol::preface::{
    LENGTH, NOISE_LIMIT, Nonce, PrefaceError, PrefaceFinder, VersionWindow, from_guest, from_host,
};

use super::pieces::pieces;

const NONCE: Nonce = *b"0123456789abcdef";
const MAGIC: usize = 8;

/// A byte that says how the stream is cut, then the stream.
pub fn check_bytes(input: &[u8]) {
    if let Some((&cut, stream)) = input.split_first() {
        check_stream(stream, cut);
    }
}

/// Greetings, noise and parts of both, one behind the other.
pub fn check_sequence(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok(cut) = u8::arbitrary(&mut input) else {
        return;
    };
    let Ok(parts) = Vec::<Part>::arbitrary_take_rest(input) else {
        return;
    };
    let mut stream = Vec::new();
    // So much noise takes its time: few inputs have it, and never bytewise.
    let long = cut > 250;
    for part in &parts {
        match part {
            Part::LongNoise(..) if !long => {}
            part => part.append_to(&mut stream),
        }
    }
    check_stream(&stream, if long { 2 } else { cut });
}

#[derive(Debug, Arbitrary)]
enum Part {
    Noise(Vec<u8>),
    /// Up to the limit and a little over it.
    LongNoise(u8, u16),
    Host(Greeting),
    Guest(Greeting),
}

#[derive(Debug, Arbitrary)]
struct Greeting {
    /// Ours, else all the same byte.
    nonce: Option<u8>,
    versions: Option<(u16, u16)>,
    length: Option<u8>,
}

impl Part {
    fn append_to(&self, stream: &mut Vec<u8>) {
        match self {
            Self::Noise(bytes) => stream.extend_from_slice(bytes),
            Self::LongNoise(byte, more) => {
                let length = NOISE_LIMIT - 32 + usize::from(*more % 64);
                if stream.len() < NOISE_LIMIT / 2 {
                    stream.resize(stream.len() + length, *byte);
                }
            }
            Self::Host(greeting) => greeting.append_to(from_host, stream),
            Self::Guest(greeting) => greeting.append_to(from_guest, stream),
        }
    }
}

impl Greeting {
    fn append_to(&self, of: fn(Nonce) -> [u8; LENGTH], stream: &mut Vec<u8>) {
        let mut bytes = of(self.nonce.map_or(NONCE, |byte| [byte; 16]));
        if let Some((oldest, newest)) = self.versions {
            bytes[10..12].copy_from_slice(&oldest.to_be_bytes());
            bytes[12..14].copy_from_slice(&newest.to_be_bytes());
        }
        let length = self.length.map_or(LENGTH, usize::from).min(LENGTH);
        stream.extend_from_slice(&bytes[..length]);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Waiting,
    Found {
        nonce: Nonce,
        version: u16,
        rest: Vec<u8>,
    },
    Noise,
    Version(VersionWindow),
}

fn check_stream(stream: &[u8], cut: u8) {
    for host in [true, false] {
        let whole = found(host, std::iter::once(stream));
        assert_eq!(whole, expected(host, stream), "whole, host: {host}");
        let in_pieces = found(host, pieces(stream, cut));
        assert_eq!(in_pieces, whole, "in pieces, host: {host}");
    }
}

fn found<'a>(host: bool, stream: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut finder = if host {
        PrefaceFinder::for_host(NONCE)
    } else {
        PrefaceFinder::for_guest()
    };
    let mut input = BytesMut::new();
    let mut outcome = Outcome::Waiting;
    for piece in stream {
        input.extend_from_slice(piece);
        if outcome != Outcome::Waiting {
            continue;
        }
        match finder.find(&mut input) {
            Ok(None) => assert!(input.len() < LENGTH, "{} bytes are kept", input.len()),
            Ok(Some((nonce, version))) => {
                let rest = Vec::new();
                outcome = Outcome::Found {
                    nonce,
                    version,
                    rest,
                };
            }
            Err(PrefaceError::Noise { sample }) => {
                assert!(sample.is_ascii() && sample.len() <= 48 * 4, "{sample}");
                outcome = Outcome::Noise;
            }
            Err(PrefaceError::Version { theirs }) => outcome = Outcome::Version(theirs),
        }
        assert!(finder.noise().is_ascii());
    }
    if let Outcome::Found { rest, .. } = &mut outcome {
        rest.extend_from_slice(&input);
    }
    outcome
}

/// The same by looking at all of it at once.
fn expected(host: bool, stream: &[u8]) -> Outcome {
    let magic = &from_host(NONCE)[..MAGIC];
    let sender = if host { 2 } else { 1 };
    let mut position = 0;
    loop {
        let behind = &stream[position..];
        let Some(start) = behind.windows(MAGIC).position(|bytes| bytes == magic) else {
            let partial = (0..MAGIC)
                .rev()
                .find(|&kept| behind.ends_with(&magic[..kept]));
            let skipped = stream.len() - partial.unwrap_or(0);
            return if skipped > NOISE_LIMIT {
                Outcome::Noise
            } else {
                Outcome::Waiting
            };
        };
        position += start;
        if position > NOISE_LIMIT {
            return Outcome::Noise;
        }
        let Some((preface, rest)) = stream[position..].split_first_chunk::<LENGTH>() else {
            return Outcome::Waiting;
        };
        let nonce: Nonce = preface[16..].try_into().expect("sixteen bytes");
        if preface[8] == sender && (!host || nonce == NONCE) {
            let theirs = VersionWindow {
                oldest: u16::from_be_bytes([preface[10], preface[11]]),
                newest: u16::from_be_bytes([preface[12], preface[13]]),
            };
            return match VersionWindow::OURS.common(theirs) {
                Some(version) => Outcome::Found {
                    nonce,
                    version,
                    rest: rest.to_vec(),
                },
                None => Outcome::Version(theirs),
            };
        }
        position += MAGIC;
        if position > NOISE_LIMIT {
            return Outcome::Noise;
        }
    }
}
