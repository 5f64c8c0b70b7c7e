//! One direction of a carrier.

use std::{collections::VecDeque, time::Duration};

/// Bytes on their way, with what can happen to them.
#[derive(Debug)]
pub(crate) struct Pipe {
    shape: Shape,
    /// Pieces as they were sent and when they can be there.
    pieces: VecDeque<(Duration, Vec<u8>)>,
    length: usize,
    stalled_until: Duration,
    vanished: bool,
    cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes that it holds.
    pub(crate) capacity: usize,
    pub(crate) latency: Duration,
}

impl Pipe {
    pub(crate) const fn new(shape: Shape) -> Self {
        Self {
            shape,
            pieces: VecDeque::new(),
            length: 0,
            stalled_until: Duration::ZERO,
            vanished: false,
            cut: false,
        }
    }

    pub(crate) const fn room(&self) -> usize {
        self.shape.capacity.saturating_sub(self.length)
    }

    pub(crate) const fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether bytes that are sent never come.
    pub(crate) const fn has_vanished(&self) -> bool {
        self.vanished
    }

    pub(crate) fn send(&mut self, bytes: Vec<u8>, now: Duration) {
        if !bytes.is_empty() && !self.vanished {
            self.length += bytes.len();
            self.pieces.push_back((now + self.shape.latency, bytes));
        }
    }

    /// At most `most` of the bytes that are there.
    pub(crate) fn receive(&mut self, most: usize, now: Duration) -> Vec<u8> {
        let mut received = Vec::new();
        while now >= self.stalled_until
            && received.len() < most
            && let Some((at, piece)) = self.pieces.front_mut()
            && *at <= now
        {
            let count = piece.len().min(most - received.len());
            received.extend(piece.drain(..count));
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        self.length -= received.len();
        received
    }

    /// Whether [`receive`](Self::receive) gives something.
    pub(crate) fn has_arrived(&self, now: Duration) -> bool {
        self.next_arrival().is_some_and(|at| at <= now)
    }

    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        let (at, _) = self.pieces.front()?;
        Some((*at).max(self.stalled_until))
    }

    /// Holds back everything until `until`.
    pub(crate) fn stall(&mut self, until: Duration) {
        self.stalled_until = self.stalled_until.max(until);
    }

    /// Holds back nothing any more.
    pub(crate) const fn flow(&mut self) {
        self.stalled_until = Duration::ZERO;
    }

    /// Swallows what comes from now on, and says nothing.
    pub(crate) const fn vanish(&mut self) {
        self.vanished = true;
    }

    /// Ends it. What is on its way comes still, or not.
    pub(crate) fn cut(&mut self, lose: bool) {
        self.cut = true;
        if lose {
            self.pieces.clear();
            self.length = 0;
        }
    }
}
