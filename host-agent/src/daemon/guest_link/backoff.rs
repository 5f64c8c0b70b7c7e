//! How long to wait before the next attempt to connect. Pure.

use std::time::{Duration, Instant};

/// Between attempts while nobody listens yet, at least. A connect to a socket that is not there
/// costs microseconds.
const ABSENT: Duration = Duration::from_millis(10);

/// What part of the time that nobody was there is waited until the next look: an agent is met
/// within a hundredth of the time that it took to start.
const ABSENT_PART: u32 = 100;

/// Upper bound of a wait for somebody to listen: a guest that takes long to boot is still met soon
/// after its agent runs.
const ABSENT_LONGEST: Duration = Duration::from_secs(1);

/// Upper bound of the first wait after a failure.
const FIRST: Duration = Duration::from_millis(50);

/// Upper bound of every wait.
const LONGEST: Duration = Duration::from_secs(5);

/// A link that lived this long was a good one: what follows is a new story.
const GOOD: Duration = Duration::from_secs(10);

/// Counts attempts and spreads them.
#[derive(Debug)]
pub(super) struct Backoff {
    since: Instant,
    attempt: u32,
    random: u64,
}

impl Backoff {
    /// `seed` keeps the clusters of one host from trying in step.
    pub(super) const fn new(seed: u64, now: Instant) -> Self {
        Self {
            since: now,
            attempt: 0,
            random: seed | 1,
        }
    }

    /// Attempts since the last good link.
    pub(super) const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// An attempt found nobody listening, or nobody who answered where that takes no time.
    pub(super) fn absent(&mut self, now: Instant) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        let absent = now.saturating_duration_since(self.since);
        (absent / ABSENT_PART).clamp(ABSENT, ABSENT_LONGEST)
    }

    /// An attempt failed otherwise: half of a bound that doubles, and as much again by chance.
    pub(super) fn failed(&mut self) -> Duration {
        let doublings = self.attempt.min(16);
        self.attempt = self.attempt.saturating_add(1);
        let bound = FIRST.saturating_mul(1 << doublings).min(LONGEST);
        bound / 2 + bound.mul_f64(self.chance() / 2.0)
    }

    /// A link ended after `lived`.
    pub(super) fn ended(&mut self, lived: Duration, now: Instant) -> Duration {
        if lived >= GOOD {
            self.attempt = 0;
            self.since = now;
        }
        self.failed()
    }

    /// Somebody wants the next attempts to come soon.
    pub(super) const fn reset(&mut self, now: Instant) {
        self.attempt = 0;
        self.since = now;
    }

    /// From 0 to 1, by xorshift: it spreads attempts and protects nothing.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u16::try_from(self.random & 0xffff).unwrap_or(u16::MAX)) / f64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_exceed_it() {
        for seed in [0, 1, 42, u64::MAX] {
            let mut backoff = Backoff::new(seed, Instant::now());
            let waits: Vec<_> = (0..40).map(|_| backoff.failed()).collect();
            assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2, "{waits:?}");
            for (attempt, wait) in waits.iter().enumerate() {
                let bound = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
                assert!(
                    *wait <= bound && *wait >= bound / 2,
                    "attempt {attempt}: {wait:?}"
                );
            }
        }
    }

    #[test]
    fn an_agent_that_starts_is_tried_often_but_not_for_ever() {
        let start = Instant::now();
        let mut backoff = Backoff::new(7, start);
        let mut wait_after = |millis| backoff.absent(start + Duration::from_millis(millis));
        assert_eq!(wait_after(0), ABSENT);
        assert_eq!(wait_after(999), ABSENT);
        assert_eq!(wait_after(40_000), Duration::from_millis(400));
        assert_eq!(wait_after(3_600_000), ABSENT_LONGEST);
        assert_eq!(backoff.attempt(), 4);
    }

    #[test]
    fn only_a_link_that_lived_begins_a_new_story() {
        let now = Instant::now();
        let mut backoff = Backoff::new(7, now);
        for _ in 0..10 {
            backoff.failed();
        }
        assert!(backoff.ended(Duration::from_secs(1), now) >= LONGEST / 2);
        assert!(backoff.ended(Duration::from_secs(60), now) <= FIRST);
        assert_eq!(backoff.attempt(), 1);
    }

    #[test]
    fn clusters_do_not_try_in_step() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed, Instant::now());
            (0..8).map(|_| backoff.failed()).collect::<Vec<_>>()
        };
        assert_ne!(waits(11), waits(12_345_678));
    }
}
