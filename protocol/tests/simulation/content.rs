//! What is said on a stream: every byte follows from the stream, the direction and its place, so a
//! byte that is lost, doubled, swapped or from elsewhere shows.

use std::sync::OnceLock;

use bytes::Bytes;
use lkc_protocol::frame::StreamId;

use crate::{ends::End, random::mix};

/// A prime, so that no size of a frame or a buffer is in step with it.
const PERIOD: usize = 65_521;

/// Longest piece that is written at once.
pub(crate) const LONGEST: usize = 128 * 1024;

/// The bytes from `offset` on that `from` says on `stream`.
pub(crate) fn bytes(stream: StreamId, from: End, offset: usize, count: usize) -> Bytes {
    let start = start(stream, from, offset);
    Bytes::from_static(&pattern()[start..start + count.min(LONGEST)])
}

/// Whether `seen` is what `from` says on `stream` from `offset` on.
pub(crate) fn is(stream: StreamId, from: End, offset: usize, seen: &[u8]) -> bool {
    let mut offset = offset;
    seen.chunks(LONGEST).all(|piece| {
        let start = start(stream, from, offset);
        offset += piece.len();
        pattern()[start..start + piece.len()] == *piece
    })
}

/// The request of a stream.
pub(crate) fn request(stream: StreamId) -> Bytes {
    bytes(stream, End::Host, 1_000_000, stream.0 as usize % 40)
}

/// The answer to it.
pub(crate) fn answer(stream: StreamId) -> Bytes {
    bytes(stream, End::Guest, 1_000_000, stream.0 as usize % 37)
}

fn start(stream: StreamId, from: End, offset: usize) -> usize {
    let direction = u64::from(stream.0) * 2 + from.index() as u64;
    let key = usize::try_from(mix(direction) % PERIOD as u64).unwrap_or(0);
    (key + offset) % PERIOD
}

fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        (0..PERIOD + LONGEST)
            .map(|place| mix((place % PERIOD) as u64).to_le_bytes()[0])
            .collect()
    })
}
