//! What was sent before a reset gets there before it, as far as it moves.
//!
//! Between two kernels a reset stands behind the bytes and the end that were sent before it: who has
//! not read them can read them still. It waits for nobody, though: what the receiving kernel has no
//! room for is lost. So here: what came from a connection before its reset goes on its way, for as
//! long as some of it moves, and then the reset follows. Where the reader has long stopped nothing
//! moves, and the reset goes at once.

use std::{io, pin::Pin, sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};

/// Time in which some of what stands before a reset has to move. Longer than a round trip to a far
/// guest, which may have to give credit first; short enough for a program that waits for the reset.
const MOMENT: Duration = Duration::from_secs(1);

/// Ends a wait that begins now: with `cause`, but not before the wait has lasted its moment.
pub(super) async fn after_a_moment<T>(cause: impl Future<Output = T>) -> T {
    let begin = Instant::now();
    let value = cause.await;
    sleep_until(begin + MOMENT).await;
    value
}

/// Runs `future` to its end, or until `state` is for a moment what it was.
pub(super) async fn while_it_moves<F: Future, S: PartialEq>(
    mut future: Pin<&mut F>,
    state: impl Fn() -> S,
) -> Option<F::Output> {
    loop {
        let before = state();
        match timeout(MOMENT, future.as_mut()).await {
            Ok(output) => return Some(output),
            Err(_) if state() == before => return None,
            Err(_) => {}
        }
    }
}

/// Whether a socket's end is none, because a write has taken the error that would have told so.
#[derive(Debug, Default)]
pub(super) struct Cut(AtomicBool);

impl Cut {
    /// A write has failed.
    pub(super) fn note(&self, error: &io::Error) {
        // The kernel says so of a connection that had ended before it was reset, and only then.
        let had_ended = error.kind() == io::ErrorKind::BrokenPipe;
        self.0.store(!had_ended, Ordering::Relaxed);
    }

    /// What an end that was read is.
    ///
    /// # Errors
    /// `ConnectionReset` where it is none.
    pub(super) fn check_end(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}
