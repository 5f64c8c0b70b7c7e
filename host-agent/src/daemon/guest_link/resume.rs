//! Notices that the host slept: then the next attempt to connect is due at once.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::sleep;

/// Between two looks at the clocks.
const LOOK: Duration = Duration::from_secs(1);

/// How much further than the other clock the wall clock must have moved. A machine that is merely
/// busy moves both; a clock that is set by more means one attempt too early.
const SLEPT: Duration = Duration::from_secs(3);

/// Returns once the host has slept since this was first polled.
pub(super) async fn resumed() {
    loop {
        let (wall, steady) = (SystemTime::now(), Instant::now());
        sleep(LOOK).await;
        // A wall clock that went back says nothing of sleep.
        let wall = wall.elapsed().unwrap_or_default();
        if has_slept(wall, steady.elapsed()) {
            return;
        }
    }
}

/// Whether the time that passed on the wall was longer than that of a clock that stands still in
/// sleep.
fn has_slept(wall: Duration, steady: Duration) -> bool {
    wall.saturating_sub(steady) >= SLEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_one_clock_misses() {
        let seconds = Duration::from_secs;
        assert!(has_slept(seconds(3600), seconds(1)));
        assert!(has_slept(seconds(4), seconds(1)));
        assert!(!has_slept(seconds(30), seconds(30)), "a busy machine");
        assert!(
            !has_slept(seconds(2), seconds(1)),
            "a clock that is set right"
        );
        assert!(!has_slept(seconds(0), seconds(1)), "a clock that went back");
    }
}
