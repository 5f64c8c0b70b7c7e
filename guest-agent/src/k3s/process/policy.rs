//! When to start k3s again, and when to call it a crash loop. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pauses before the first, second, third… start after an unexpected exit; the last one repeats.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Pause in a crash loop: rare enough not to load the machine, often enough that a mended
/// configuration is found without being told.
const CRASH_LOOP_PAUSE: Duration = Duration::from_secs(10);

/// Having run this long, k3s counts as having started well.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Exits within [`CRASH_LOOP_WINDOW`] that make a crash loop.
const CRASH_LOOP_EXITS: usize = 3;

/// See [`CRASH_LOOP_EXITS`].
const CRASH_LOOP_WINDOW: Duration = Duration::from_secs(60);

/// What is to be done about an unexpected exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// When to start again.
    pub restart_at: Instant,
    /// Whether it is a crash loop.
    pub crash_loop: bool,
}

/// Counts starts and exits of one k3s.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    exits: VecDeque<Instant>,
    started_at: Option<Instant>,
    stable: bool,
    crash_loop: bool,
    restarts: u32,
    exited: bool,
}

impl RestartPolicy {
    /// k3s was started, or found running.
    pub fn handle_started(&mut self, now: Instant) {
        self.restarts = self.restarts.saturating_add(u32::from(self.exited));
        self.exited = false;
        self.started_at = Some(now);
        self.stable = false;
    }

    /// k3s ended without being asked to.
    pub fn handle_exited(&mut self, now: Instant) -> Exit {
        self.handle_timeout(now);
        if self.stable {
            self.forgive();
        }
        self.started_at = None;
        self.stable = false;
        self.exited = true;
        self.exits.push_back(now);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < CRASH_LOOP_WINDOW;
        while self.exits.front().is_some_and(|at| !is_recent(*at)) {
            self.exits.pop_front();
        }
        if self.exits.len() > CRASH_LOOP_EXITS {
            self.exits.pop_front();
        }
        self.crash_loop |= self.exits.len() >= CRASH_LOOP_EXITS;
        let pause = if self.crash_loop {
            CRASH_LOOP_PAUSE
        } else {
            PAUSES[self.exits.len().clamp(1, PAUSES.len()) - 1]
        };
        Exit {
            restart_at: now + pause,
            crash_loop: self.crash_loop,
        }
    }

    /// The API was ready: what went wrong before does not count any more.
    pub fn handle_api_ready(&mut self) {
        if self.started_at.is_some() {
            self.stable = true;
            self.forgive();
        }
    }

    /// k3s was stopped, or its configuration changed: a fresh start.
    pub fn handle_reset(&mut self) {
        self.started_at = None;
        self.stable = false;
        self.exited = false;
        self.forgive();
    }

    /// When [`Self::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.started_at
            .filter(|_| !self.stable)
            .map(|at| at + STABLE_AFTER)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.stable = true;
            self.forgive();
        }
    }

    /// Whether k3s is in a crash loop; a start alone does not end it.
    #[must_use]
    pub fn in_crash_loop(&self) -> bool {
        self.crash_loop
    }

    /// Starts that followed an unexpected exit.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    fn forgive(&mut self) {
        self.exits.clear();
        self.crash_loop = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn three_quick_exits_are_a_crash_loop() {
        let begin = Instant::now();
        let mut policy = RestartPolicy::default();
        policy.handle_started(begin);
        let first = policy.handle_exited(begin + seconds(1));
        assert_eq!(
            first,
            Exit {
                restart_at: begin + seconds(2),
                crash_loop: false
            }
        );
        policy.handle_started(begin + seconds(2));
        let second = policy.handle_exited(begin + seconds(3));
        assert_eq!(
            second,
            Exit {
                restart_at: begin + seconds(5),
                crash_loop: false
            }
        );
        policy.handle_started(begin + seconds(5));
        let third = policy.handle_exited(begin + seconds(6));
        assert_eq!(
            third,
            Exit {
                restart_at: begin + seconds(16),
                crash_loop: true
            }
        );
        assert_eq!(policy.restarts(), 2);

        policy.handle_started(begin + seconds(16));
        assert!(policy.in_crash_loop(), "a start alone proves nothing");
        assert!(policy.handle_exited(begin + seconds(30)).crash_loop);
    }

    #[test]
    fn slow_exits_are_none() {
        let mut now = Instant::now();
        let mut policy = RestartPolicy::default();
        for _ in 0..10 {
            policy.handle_started(now);
            now += seconds(29);
            let exit = policy.handle_exited(now);
            assert!(!exit.crash_loop);
            now = exit.restart_at;
        }
    }

    #[test]
    fn an_exit_after_a_good_run_starts_from_the_first_pause() {
        let begin = Instant::now();
        let mut policy = RestartPolicy::default();
        for second in [0, 1] {
            policy.handle_started(begin + seconds(second));
            policy.handle_exited(begin + seconds(second));
        }
        policy.handle_started(begin + seconds(4));
        assert_eq!(policy.poll_timeout(), Some(begin + seconds(34)));
        policy.handle_timeout(begin + seconds(34));
        assert_eq!(policy.poll_timeout(), None);
        let exit = policy.handle_exited(begin + seconds(35));
        assert_eq!(
            exit,
            Exit {
                restart_at: begin + seconds(36),
                crash_loop: false
            }
        );
    }

    #[test]
    fn a_ready_api_ends_a_crash_loop() {
        let begin = Instant::now();
        let mut policy = RestartPolicy::default();
        for _ in 0..3 {
            policy.handle_started(begin);
            policy.handle_exited(begin);
        }
        policy.handle_api_ready();
        assert!(
            policy.in_crash_loop(),
            "an answer of a process that has ended does not count"
        );
        policy.handle_started(begin + seconds(10));
        policy.handle_api_ready();
        assert!(!policy.in_crash_loop());
        assert!(!policy.handle_exited(begin + seconds(11)).crash_loop);
    }

    #[test]
    fn a_ready_api_between_exits_prevents_one() {
        let begin = Instant::now();
        let mut policy = RestartPolicy::default();
        for second in 0..10 {
            policy.handle_started(begin + seconds(second));
            policy.handle_api_ready();
            assert!(!policy.handle_exited(begin + seconds(second)).crash_loop);
        }
    }

    #[test]
    fn a_reset_is_a_fresh_start() {
        let begin = Instant::now();
        let mut policy = RestartPolicy::default();
        for _ in 0..3 {
            policy.handle_started(begin);
            policy.handle_exited(begin);
        }
        policy.handle_reset();
        assert!(!policy.in_crash_loop());
        assert_eq!(policy.handle_exited(begin).restart_at, begin + seconds(1));
    }
}
