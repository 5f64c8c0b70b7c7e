//! Whose turn it is to be dialled. Pure.
//!
//! Carriers have their turns in the order of the configuration. One gets its turn when the one
//! before it has failed, or has kept the others waiting for longer than its head start. Such a slow
//! one is not given up: it goes on beside the others, into later rounds as well. But for a while it
//! stands behind them, and nobody waits for it any more.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long a carrier may keep those behind it waiting. An SSH login, or the cryptography of a
/// guest under software emulation, takes less.
pub(super) const HEAD_START: Duration = Duration::from_secs(2);

/// How long a carrier that used its head start up stands behind the others: with each link that is
/// lost in that time it would cost as much again.
pub(super) const SLOW_FOR: Duration = Duration::from_secs(60);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<K> {
    /// Dial this one, beside those that are being dialled.
    Dial(K),
    /// Wait until one of them has ended, or until then.
    Wait(Option<Instant>),
    /// Every one had its turn, and one failed: pause, and begin another round.
    Over,
}

/// The turns of one cluster's carriers.
#[derive(Debug)]
pub(super) struct Turns<K> {
    /// Those that still have to be dialled in this round.
    waiting: VecDeque<K>,
    /// Those that are being dialled, and since when.
    dialled: Vec<(K, Instant)>,
    /// Those that were slow, and until when that counts.
    slow: Vec<(K, Instant)>,
    /// Whether one has failed in this round.
    failed: bool,
}

impl<K: Clone + PartialEq> Turns<K> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            dialled: Vec::new(),
            slow: Vec::new(),
            failed: false,
        }
    }

    /// Begins a round among `carriers`, the best first.
    pub(super) fn begin(&mut self, carriers: &[K], now: Instant) {
        self.slow.retain(|(_, until)| *until > now);
        let due = carriers.iter().filter(|carrier| !self.is_dialled(carrier));
        let (slow, prompt): (Vec<_>, Vec<_>) = due.partition(|carrier| self.is_slow(carrier));
        let order = prompt.into_iter().chain(slow).cloned().collect();
        self.waiting = order;
        self.failed = false;
    }

    /// What to do at `now`.
    pub(super) fn next(&mut self, now: Instant) -> Next<K> {
        self.find_slow(now);
        if let Some(until) = self.head_start() {
            return Next::Wait(Some(until));
        }
        if let Some(carrier) = self.waiting.pop_front() {
            self.dialled.push((carrier.clone(), now));
            return Next::Dial(carrier);
        }
        if self.failed || self.dialled.is_empty() {
            Next::Over
        } else {
            Next::Wait(None)
        }
    }

    /// A carrier did not become a link.
    pub(super) fn failed(&mut self, carrier: &K) {
        self.dialled.retain(|(one, _)| one != carrier);
        self.failed = true;
    }

    /// A carrier became the link; those that are still being dialled are let go of.
    pub(super) fn won(&mut self, carrier: &K) {
        self.slow.retain(|(one, _)| one != carrier);
        self.dialled.clear();
        self.waiting.clear();
    }

    /// Those that have used their head start up are slow from now on.
    fn find_slow(&mut self, now: Instant) {
        for (carrier, since) in &self.dialled {
            let is_known = self.slow.iter().any(|(one, _)| one == carrier);
            if !is_known && now.saturating_duration_since(*since) >= HEAD_START {
                self.slow.push((carrier.clone(), now + SLOW_FOR));
            }
        }
    }

    /// Until when the others wait for one that is being dialled.
    fn head_start(&self) -> Option<Instant> {
        self.dialled
            .iter()
            .filter(|(carrier, _)| !self.is_slow(carrier))
            .map(|(_, since)| *since + HEAD_START)
            .max()
    }

    fn is_dialled(&self, carrier: &K) -> bool {
        self.dialled.iter().any(|(one, _)| one == carrier)
    }

    fn is_slow(&self, carrier: &K) -> bool {
        self.slow.iter().any(|(one, _)| one == carrier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carriers and a clock that the test moves.
    struct World {
        turns: Turns<&'static str>,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            Self {
                turns: Turns::new(),
                now: Instant::now(),
            }
        }

        fn begin(&mut self, carriers: &[&'static str]) {
            self.turns.begin(carriers, self.now);
        }

        fn next(&mut self) -> Next<&'static str> {
            self.turns.next(self.now)
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
        }

        /// A round in which `hanging` says nothing and the other one of `carriers` answers: how long
        /// it took, and who was dialled.
        fn round(&mut self, carriers: &[&'static str], hanging: &str) -> (Duration, Vec<&str>) {
            let start = self.now;
            let mut dialled = Vec::new();
            self.begin(carriers);
            loop {
                match self.next() {
                    Next::Dial(carrier) => {
                        dialled.push(carrier);
                        if carrier != hanging {
                            self.turns.won(&carrier);
                            return (self.now - start, dialled);
                        }
                    }
                    Next::Wait(until) => self.now = until.unwrap(),
                    Next::Over => panic!("nobody was reached"),
                }
            }
        }
    }

    #[test]
    fn the_order_is_the_configuration_s_and_a_failure_passes_the_turn_on_at_once() {
        let mut world = World::new();
        for _ in 0..3 {
            world.begin(&["a", "b"]);
            assert_eq!(world.next(), Next::Dial("a"));
            assert_eq!(world.next(), Next::Wait(Some(world.now + HEAD_START)));
            world.turns.failed(&"a");
            assert_eq!(world.next(), Next::Dial("b"));
            world.turns.failed(&"b");
            assert_eq!(world.next(), Next::Over);
            world.pass(Duration::from_millis(10));
        }
        world.begin(&[]);
        assert_eq!(world.next(), Next::Over);
    }

    #[test]
    fn one_that_hangs_costs_its_head_start_once_and_has_its_turn_again_later() {
        let mut world = World::new();
        let carriers = ["a", "b"];
        assert_eq!(world.round(&carriers, "a"), (HEAD_START, vec!["a", "b"]));
        for _ in 0..5 {
            world.pass(SLOW_FOR / 6);
            assert_eq!(world.round(&carriers, "a"), (Duration::ZERO, vec!["b"]));
        }
        world.pass(SLOW_FOR / 6);
        assert_eq!(world.round(&carriers, "b"), (Duration::ZERO, vec!["a"]));
    }

    #[test]
    fn one_that_was_slow_is_the_first_again_once_it_has_won() {
        let mut world = World::new();
        world.begin(&["a", "b"]);
        assert_eq!(world.next(), Next::Dial("a"));
        world.pass(HEAD_START);
        assert_eq!(world.next(), Next::Dial("b"));
        world.turns.won(&"a");
        world.begin(&["a", "b"]);
        assert_eq!(world.next(), Next::Dial("a"));
    }

    #[test]
    fn the_others_are_dialled_again_while_one_hangs() {
        let mut world = World::new();
        world.begin(&["a", "b"]);
        assert_eq!(world.next(), Next::Dial("a"));
        world.pass(HEAD_START);
        for _ in 0..3 {
            assert_eq!(world.next(), Next::Dial("b"));
            world.turns.failed(&"b");
            assert_eq!(world.next(), Next::Over, "nobody waits for it");
            world.pass(Duration::from_millis(10));
            world.begin(&["a", "b"]);
        }
        // It gives up, and is dialled anew, behind the other one and without keeping it waiting.
        world.turns.failed(&"a");
        world.begin(&["a", "b"]);
        assert_eq!(world.next(), Next::Dial("b"));
        world.turns.failed(&"b");
        assert_eq!(world.next(), Next::Dial("a"));
        assert_eq!(world.next(), Next::Over);
    }

    #[test]
    fn where_nobody_else_is_left_one_that_hangs_is_waited_for() {
        let mut world = World::new();
        world.begin(&["a"]);
        assert_eq!(world.next(), Next::Dial("a"));
        world.pass(HEAD_START);
        assert_eq!(world.next(), Next::Wait(None));
        world.turns.failed(&"a");
        assert_eq!(world.next(), Next::Over);
        world.begin(&["a"]);
        assert_eq!(world.next(), Next::Dial("a"));
        assert_eq!(world.next(), Next::Wait(None), "it is known to be slow");
        // All of them hang: they are dialled beside each other.
        world.begin(&["a", "b", "c"]);
        assert_eq!(world.next(), Next::Dial("b"));
        world.pass(HEAD_START);
        assert_eq!(world.next(), Next::Dial("c"));
        world.pass(HEAD_START);
        assert_eq!(world.next(), Next::Wait(None));
    }
}
