//! Pauses between attempts: growing, bounded, and never the same for two that began together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_millis(50);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that grow by half from 50 ms to 1 s, each shortened by up to a quarter at random. What is
/// waited for is so noticed late by at most a third of the time that it took.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    attempts: u64,
    random: RandomState,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self {
            pause: FIRST,
            attempts: 0,
            random: RandomState::new(),
        }
    }

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (self.pause * 3 / 2).min(LONGEST);
        self.attempts += 1;
        let permille = u32::try_from(self.random.hash_one(self.attempts) % 250).unwrap_or(0);
        pause - pause * permille / 1000
    }

    /// Begins with the first pause again.
    pub(super) fn reset(&mut self) {
        self.pause = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut backoff = Backoff::new();
        let mut full = FIRST;
        for _ in 0..20 {
            let pause = backoff.next();
            assert!(
                pause <= full && pause >= full * 3 / 4,
                "{pause:?} of {full:?}"
            );
            full = (full * 3 / 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
