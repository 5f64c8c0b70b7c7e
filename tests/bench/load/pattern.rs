//! Known bytes, to see that what comes out is what went in.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{Read, Write},
    net::Shutdown,
};

use super::{
    Target,
    client::{Work, connect},
};
use crate::{Failure, shuffle::Shuffle};

/// Bytes that look random and follow from a number.
pub(super) struct Pattern;

impl Pattern {
    pub(super) fn bytes(seed: u64, length: u32) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or_default();
        let mut source = Shuffle::new(seed);
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&source.next().to_be_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Sends `length` known bytes, ends that direction, and compares what comes back: as many known
/// bytes and the backend's hash of what it got.
///
/// # Errors
/// `Candidate` when anything differs.
pub(crate) fn check_integrity(target: Target<'_>, length: u32) -> Result<(), Failure> {
    let what = || Failure::to(format!("move {length} bytes through the tunnel"));
    let sent = Pattern::bytes(1, length);
    let mut stream = connect(target.entry, Work::Verify(length)).map_err(what())?;
    stream.write_all(&sent).map_err(what())?;
    stream.shutdown(Shutdown::Write).map_err(what())?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).map_err(what())?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&sent);
    let mut expected = Pattern::bytes(u64::from(length), length);
    expected.extend_from_slice(&hasher.finish().to_be_bytes());
    if received == expected {
        return Ok(());
    }
    let equal = received.iter().zip(&expected).take_while(|(a, b)| a == b);
    Err(Failure::Candidate(format!(
        "of {} bytes {} came back, the first {} as expected",
        expected.len(),
        received.len(),
        equal.count()
    )))
}
