//! The machine's clock, which a host may set where that is allowed. Where systemd runs the agent the
//! steward sets it, and what it may is in its unit: `set-clock.conf`.

use std::{
    mem,
    time::{Duration, SystemTime, SystemTimeError, UNIX_EPOCH},
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    message::{SetTime, TimeSet},
};
use nix::{
    errno::Errno,
    libc,
    sys::time::TimeSpec,
    time::{ClockId, clock_settime},
};

use crate::observe::describe;

/// A host whose clock says less is wrong itself: 2026-01-01, in milliseconds since 1970.
const EARLIEST_MS: u64 = 1_767_225_600_000;

/// So is one whose clock says more, 2100-01-01: certificates are not made for so long.
const LATEST_MS: u64 = 4_102_444_800_000;

/// The clock is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// It is not a host's to set.
    #[error(
        "the guest keeps its own clock; the drop-in set-clock.conf of its lkc-steward.service, on NixOS \
         services.lkc-guest.setClock, lets hosts set it"
    )]
    NotAllowed,
    /// It has a better source.
    #[error("the guest's clock follows a time server, which is left to set it right")]
    Synchronised,
    /// The host's clock cannot be right.
    #[error("the host's clock says {0} s since 1970, which is not between the years 2026 and 2100")]
    HostWrong(u64),
    /// The kernel does not tell who keeps it.
    #[error("cannot ask the kernel whether a time server sets the guest's clock")]
    Unknown(#[source] Errno),
    /// The kernel refuses.
    #[error("cannot set the guest's clock")]
    Kernel(#[source] Errno),
}

impl From<ClockError> for Refusal {
    fn from(error: ClockError) -> Self {
        let code = match error {
            ClockError::NotAllowed | ClockError::Synchronised => RefusalCode::Denied,
            ClockError::HostWrong(_) => RefusalCode::Invalid,
            ClockError::Unknown(_) | ClockError::Kernel(_) => RefusalCode::Failed,
        };
        Self::new(code, describe(&error))
    }
}

/// Sets the clock to what the host says, unless it is within the bound of that.
///
/// # Errors
/// See [`ClockError`].
pub fn set(wanted: &SetTime, is_allowed: bool) -> Result<TimeSet, ClockError> {
    let now = now_ms(SystemTime::now().duration_since(UNIX_EPOCH));
    let changed = match judge(wanted, now, is_allowed, is_synchronised)? {
        Verdict::Leave => false,
        Verdict::Set(time) => {
            clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(time))
                .map_err(ClockError::Kernel)?;
            tracing::warn!(
                from_ms = now,
                to_ms = wanted.clock_unix_ms,
                "the host has set the clock"
            );
            true
        }
    };
    Ok(TimeSet {
        before_unix_ms: now,
        changed,
    })
}

/// What to do about the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Leave,
    Set(Duration),
}

fn judge(
    wanted: &SetTime,
    now: u64,
    is_allowed: bool,
    is_synchronised: impl FnOnce() -> Result<bool, Errno>,
) -> Result<Verdict, ClockError> {
    let time = wanted.clock_unix_ms;
    if now.abs_diff(time) <= u64::from(wanted.bound_ms) {
        return Ok(Verdict::Leave);
    }
    if !is_allowed {
        return Err(ClockError::NotAllowed);
    }
    if !(EARLIEST_MS..LATEST_MS).contains(&time) {
        return Err(ClockError::HostWrong(time / 1000));
    }
    if is_synchronised().map_err(ClockError::Unknown)? {
        return Err(ClockError::Synchronised);
    }
    Ok(Verdict::Set(Duration::from_millis(time)))
}

/// Whether somebody keeps the clock, as the kernel was told by whoever does.
#[expect(unsafe_code, reason = "the call has no safe form")]
fn is_synchronised() -> Result<bool, Errno> {
    // SAFETY: a structure of numbers, for which zero is a value; it asks for nothing to be changed.
    let mut state: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes to the structure, which outlives the call.
    let told = unsafe { libc::adjtimex(&raw mut state) };
    Errno::result(told).map(|told| told != libc::TIME_ERROR)
}

/// 0 for a clock that is before 1970.
fn now_ms(since: Result<Duration, SystemTimeError>) -> u64 {
    let since = since.unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_255_822_123;

    fn wanted(clock_unix_ms: u64) -> SetTime {
        SetTime {
            clock_unix_ms,
            bound_ms: 2000,
        }
    }

    fn judge_allowed(time: u64, now: u64) -> Result<Verdict, ClockError> {
        judge(&wanted(time), now, true, || Ok(false))
    }

    fn nobody_asks() -> Result<bool, Errno> {
        panic!("nobody needs to know who keeps the clock");
    }

    #[test]
    fn within_the_bound_it_is_left_alone() {
        for off in [-2000_i64, -1, 0, 1999, 2000] {
            let time = NOW.checked_add_signed(off).unwrap();
            for is_allowed in [true, false] {
                let verdict = judge(&wanted(time), NOW, is_allowed, nobody_asks).unwrap();
                assert_eq!(verdict, Verdict::Leave, "{off}");
            }
        }
    }

    #[test]
    fn beyond_it_is_set_where_that_is_allowed() {
        for off in [-2001_i64, 2001, 8 * 3_600_000] {
            let time = NOW.checked_add_signed(off).unwrap();
            let verdict = judge_allowed(time, NOW).unwrap();
            assert_eq!(verdict, Verdict::Set(Duration::from_millis(time)), "{off}");
            let refused = judge(&wanted(time), NOW, false, nobody_asks).unwrap_err();
            assert!(matches!(refused, ClockError::NotAllowed), "{refused}");
        }
    }

    #[test]
    fn a_host_of_another_age_is_not_believed() {
        for time in [0, EARLIEST_MS - 1, LATEST_MS, u64::MAX] {
            let refused = judge(&wanted(time), NOW, true, nobody_asks).unwrap_err();
            assert!(matches!(refused, ClockError::HostWrong(_)), "{refused}");
        }
        for time in [EARLIEST_MS, LATEST_MS - 1] {
            assert!(judge_allowed(time, 0).is_ok(), "{time}");
        }
    }

    #[test]
    fn one_that_follows_a_time_server_is_left_to_it() {
        let judged = |state| judge(&wanted(NOW + 5000), NOW, true, || state);
        let refused = judged(Ok(true)).unwrap_err();
        assert!(matches!(refused, ClockError::Synchronised), "{refused}");
        let refused = judged(Err(Errno::EPERM)).unwrap_err();
        assert!(matches!(refused, ClockError::Unknown(_)), "{refused}");
    }

    #[test]
    fn each_is_refused_by_its_code_and_in_words() {
        for (error, code) in [
            (ClockError::NotAllowed, RefusalCode::Denied),
            (ClockError::Synchronised, RefusalCode::Denied),
            (ClockError::HostWrong(0), RefusalCode::Invalid),
            (ClockError::Kernel(Errno::EPERM), RefusalCode::Failed),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code, code, "{refusal}");
            assert!(refusal.text.contains("clock"), "{refusal}");
        }
    }
}
