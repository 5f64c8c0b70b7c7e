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
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, look: impl FnMut() -> Option<T>) -> T {
    within(deadline, look).unwrap_or_else(|| panic!("waited {deadline:?} in vain until {what}"))
}

/// The same for who goes on without it: none when the deadline is over.
#[expect(
    clippy::disallowed_methods,
    reason = "what has no event can only be looked at again"
)]
pub fn within<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(PAUSE);
    }
}
