//! The windows of all streams together: what the peer may have in our memory at once.
//!
//! A window begins small and doubles each time its reader had read everything and a whole window
//! came and went within a moment: then it is the window that the sender waits for, on any carrier
//! whose round trip is shorter than that. First windows take at most half of the budget, growth
//! leaves an eighth of it; a new stream may take that, and those that hold more than their share
//! then give some of it back by getting less credit than was read. Only a stream that reads can
//! give back: one that sleeps keeps its window, and that is all that it keeps.

use std::time::Duration;

use super::Limits;

/// How quickly a window's worth must be read for the window to grow.
pub(super) const MOMENT: Duration = Duration::from_millis(500);

/// Part of what is left that one window takes at once, so that many can grow.
const STEP: usize = 4;

/// Part of what first windows may take that one of them gets.
const FIRST_PART: usize = 32;

/// The part of the budget that growth leaves for new streams.
const RESERVE: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Windows {
    promised: usize,
}

impl Windows {
    /// The sum of the windows in bytes.
    pub(super) const fn promised(&self) -> usize {
        self.promised
    }

    /// The window of a new stream.
    pub(super) fn first(&mut self, limits: &Limits) -> usize {
        let left = (limits.window_budget / 2).saturating_sub(self.promised);
        let most = limits.first_window.min(limits.window);
        let window = (left / FIRST_PART).min(most).max(limits.min_window);
        self.promised += window;
        window
    }

    /// The next window of a stream of which `consumed` bytes are to be given back, among `streams`.
    /// It shrinks by at most those.
    pub(super) fn next(
        &mut self,
        limits: &Limits,
        window: usize,
        consumed: usize,
        kept_up: bool,
        streams: usize,
    ) -> usize {
        let left = limits.window_budget.saturating_sub(self.promised);
        let reserve = limits.window_budget / RESERVE;
        let next = if left < reserve {
            let share = limits.window_budget / streams.max(1);
            let surplus = window.saturating_sub(share.max(limits.min_window));
            window - surplus.min(window / 2).min(consumed)
        } else if kept_up {
            let wanted = window.min(limits.window.saturating_sub(window));
            let room = (left - reserve) / STEP;
            // A step that is hardly worth it is not taken.
            window
                + if room >= wanted / 2 {
                    wanted.min(room)
                } else {
                    0
                }
        } else {
            window
        };
        self.promised = self.promised - window + next;
        next
    }

    /// A stream is over.
    pub(super) const fn give_back(&mut self, window: usize) {
        self.promised = self.promised.saturating_sub(window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn limits() -> Limits {
        Limits {
            min_window: 4 * KIB,
            first_window: 256 * KIB,
            window: 1024 * KIB,
            window_budget: 8 * 1024 * KIB,
            ..Limits::default()
        }
    }

    /// Reads through `window` again and again until it stays as it is.
    fn settled(windows: &mut Windows, mut window: usize, streams: usize) -> usize {
        loop {
            let next = windows.next(&limits(), window, window / 2, true, streams);
            if next == window {
                return window;
            }
            window = next;
        }
    }

    #[test]
    fn a_window_doubles_for_who_keeps_up_and_only_up_to_the_most() {
        let mut windows = Windows::default();
        let mut window = windows.first(&limits());
        assert_eq!(window, 128 * KIB);
        for expected in [256, 512, 1024, 1024] {
            window = windows.next(&limits(), window, window / 2, true, 1);
            assert_eq!(window, expected * KIB);
        }
        assert_eq!(windows.promised(), window);
        assert_eq!(
            windows.next(&limits(), window, window / 2, false, 1),
            window
        );
        windows.give_back(window);
        assert_eq!(windows.promised(), 0);
    }

    #[test]
    fn streams_that_sleep_leave_room_for_one_that_moves() {
        let mut windows = Windows::default();
        for _ in 0..1000 {
            windows.first(&limits());
        }
        let asleep = windows.promised();
        assert!(asleep <= 4 * 1024 * KIB + 1000 * 4 * KIB, "{asleep}");
        let mut windows = Windows::default();
        for _ in 0..100 {
            windows.first(&limits());
        }
        let late = windows.first(&limits());
        assert!(settled(&mut windows, late, 101) >= 512 * KIB);
    }

    #[test]
    fn growth_never_takes_the_last_eighth_of_the_budget() {
        let mut windows = Windows::default();
        for _ in 0..100 {
            let first = windows.first(&limits());
            settled(&mut windows, first, 100);
            assert!(windows.promised() <= 7 * 1024 * KIB + 100 * 4 * KIB);
        }
    }

    #[test]
    fn under_pressure_who_has_more_than_a_share_gives_back_and_gets_it_again() {
        let mut windows = Windows::default();
        let mut large: Vec<_> = (0..7)
            .map(|_| {
                let first = windows.first(&limits());
                settled(&mut windows, first, 7)
            })
            .collect();
        let before: usize = large.iter().sum();
        assert_eq!(windows.promised(), before);
        let mut small: Vec<_> = (0..500).map(|_| windows.first(&limits())).collect();
        assert!(small.iter().all(|&window| window >= 4 * KIB));
        for _ in 0..20 {
            for window in &mut large {
                let next = windows.next(&limits(), *window, *window / 2, true, 507);
                assert!(next >= *window / 2 && next >= 4 * KIB);
                *window = next;
            }
        }
        let under_pressure: usize = large.iter().sum();
        assert!(
            under_pressure + small.len() * 4 * KIB <= 7 * 1024 * KIB,
            "{under_pressure} bytes"
        );
        small.drain(..).for_each(|window| windows.give_back(window));
        let again: usize = large
            .iter()
            .map(|&window| settled(&mut windows, window, 7))
            .sum();
        assert_eq!(again, windows.promised());
        assert!(again > under_pressure, "{again} of {before}");
    }

    #[test]
    fn a_window_never_shrinks_by_more_than_was_read() {
        let mut windows = Windows {
            promised: 8 * 1024 * KIB,
        };
        assert_eq!(
            windows.next(&limits(), 1024 * KIB, 10, true, 1000),
            1024 * KIB - 10
        );
    }
}
