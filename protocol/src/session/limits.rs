//! The bounds of a session, each with its reason.

use std::time::{Duration, Instant};

/// Largest credit that a stream can hold, in bytes. More than any link's bandwidth times delay
/// that we meet, and far from overflow.
pub(super) const MAX_WINDOW: usize = 64 * 1024 * 1024;

/// What one end allows the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Streams that the peer may have open at once. A stream costs some hundred bytes and its
    /// window; ten thousand kept open are part of the test plan.
    pub max_streams: usize,
    /// Streams of the peer that may wait for their answer at once.
    pub max_unanswered: usize,
    /// Bytes of requests that may wait for their answer at once; a decoded one takes up to some
    /// twenty times as much.
    pub max_unanswered_bytes: usize,
    /// Longest payload of a data frame that we take, in bytes.
    pub max_frame: usize,
    /// Longest payload of a data frame that we send, in bytes: what a small write waits for at
    /// most, per stream that moves gigabytes.
    pub data_frame: usize,
    /// Window of a stream in bytes when there is no room. With as many streams as there may be it
    /// comes to another budget, so that a peer never has more than two in our memory.
    pub min_window: usize,
    /// Window of a new stream in bytes: most answers fit, and a thousand idle ones leave room.
    pub first_window: usize,
    /// Largest window in bytes, of a stream whose reader keeps up. Larger ones made no stream of
    /// ours faster, and left the cache.
    pub window: usize,
    /// Bytes of window that are promised to the peer before new streams get the smallest.
    pub window_budget: usize,
    /// Bytes that a stream queues for sending before a write has to wait.
    pub send_buffer: usize,
    /// Bytes of answers that may wait for the peer to read them, before an end that asks on and
    /// does not read is cut off. From half of it on new requests are refused.
    pub max_pending_control: usize,
    /// Streams that the peer may open per second. Several times what two cores can serve, so only
    /// a flood meets it.
    pub opens_per_second: u32,
    /// Streams that the peer may reset per second; as for opens.
    pub resets_per_second: u32,
    /// Pings that the peer may send per second. An honest one sends one in four seconds.
    pub pings_per_second: u32,
    /// Silence after which we ping.
    pub ping_after: Duration,
    /// Silence after which the peer is dead; within the ten seconds that users are promised.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_streams: 16_384,
            max_unanswered: 1024,
            max_unanswered_bytes: 1024 * 1024,
            max_frame: 1024 * 1024,
            data_frame: 64 * 1024,
            min_window: 4 * 1024,
            first_window: 256 * 1024,
            window: 1024 * 1024,
            window_budget: 64 * 1024 * 1024,
            send_buffer: 256 * 1024,
            max_pending_control: 1024 * 1024,
            opens_per_second: 50_000,
            resets_per_second: 50_000,
            pings_per_second: 20,
            ping_after: Duration::from_secs(4),
            silence: Duration::from_secs(9),
        }
    }
}

/// So many per second, with a second's worth at once.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: u32,
    left: u32,
    since: Instant,
}

impl RateLimit {
    pub(super) const fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second,
            left: per_second,
            since: now,
        }
    }

    pub(super) fn take(&mut self, now: Instant) -> Result<(), ()> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.left, self.since) = (self.per_second, now);
        }
        self.left = self.left.checked_sub(1).ok_or(())?;
        Ok(())
    }
}
