//! New connections as fast as they go.

use std::{
    io::Read,
    thread,
    time::{Duration, Instant},
};

use super::{
    Target,
    client::{Work, connect},
};
use crate::Failure;

/// Connections of one measurement at most: each uses up a port for a while.
const MOST: u32 = 12_000;

/// `clients` threads open connections, one after the other: a message, its answer, closed.
///
/// # Errors
/// When one of them fails.
pub(crate) fn connects_per_second(
    target: Target<'_>,
    clients: u32,
    duration: Duration,
) -> Result<f64, Failure> {
    let begin = Instant::now();
    let counts = thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|_| scope.spawn(|| connect_repeatedly(target, begin + duration, MOST / clients)))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .map(|result| result.unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())))
            .collect::<std::io::Result<Vec<u32>>>()
    });
    let counts = counts.map_err(Failure::to(format!(
        "open connections with {clients} clients"
    )))?;
    Ok(f64::from(counts.iter().sum::<u32>()) / begin.elapsed().as_secs_f64())
}

fn connect_repeatedly(target: Target<'_>, end: Instant, most: u32) -> std::io::Result<u32> {
    let mut count = 0;
    while count < most && (Instant::now() < end || count == 0) {
        let mut stream = connect(target.entry, Work::Exchange)?;
        stream.read_exact(&mut [0])?;
        count += 1;
    }
    Ok(count)
}
