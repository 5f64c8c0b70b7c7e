//! Waiting for what tells nobody when it happens.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Pause between two looks: short against every deadline, long against a look's cost.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `look` sees something. For conditions that have no event to wait
/// for: another process's death, a line in a file, a socket of someone else.
///
/// # Panics
/// When the deadline is over, naming `what` was waited for.
#[expect(
    clippy::disallowed_methods,
    reason = "what has no event can only be looked at again"
)]
pub fn eventually<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(
            Instant::now() < end,
            "waited {deadline:?} in vain until {what}"
        );
        thread::sleep(PAUSE);
    }
}
