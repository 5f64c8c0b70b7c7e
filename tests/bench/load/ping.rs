//! Round trips.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::{
    Target,
    client::{Work, connect},
};
use crate::Failure;

/// Makes round trips of `size` bytes on one connection for `duration`. Their times in nanoseconds,
/// sorted.
///
/// # Errors
/// When one does not come back.
pub(crate) fn ping(target: Target<'_>, size: u32, duration: Duration) -> Result<Vec<u64>, Failure> {
    let what = || Failure::to(format!("make a round trip of {size} bytes"));
    let mut stream = connect(target.entry, Work::Echo(size)).map_err(what())?;
    let mut message = vec![7; usize::try_from(size).unwrap_or_default()];
    let mut times = Vec::new();
    let begin = Instant::now();
    let mut first = true;
    while begin.elapsed() < duration || times.is_empty() {
        let sent = Instant::now();
        stream.write_all(&message).map_err(what())?;
        stream.read_exact(&mut message).map_err(what())?;
        // The first one includes the opening.
        if !std::mem::take(&mut first) {
            times.push(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// Whether a connection through the tunnel works.
pub(crate) fn probe(target: Target<'_>) -> bool {
    ping(target, 1, Duration::ZERO).is_ok()
}
