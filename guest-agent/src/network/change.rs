//! A change that is taken back unless a host confirms it: commit-confirm.
//!
//! [`machine`] decides and is pure. [`Keeper`] does: it writes a [`record`] of the state before,
//! has systemd arm a [`timer`] outside the agent, and only then changes anything. What is pending is
//! in `/run` alone, so a reboot takes it back; what a host has confirmed is in the agent's state and
//! is set up at each boot before k3s starts ([`boot`]). Where there is no systemd the timer is the
//! agent's own, and the change says so.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

mod boot;
mod inherit;
mod keeper;
mod machine;
mod probe;
mod record;
mod request;
mod roll_back;
mod timer;

pub use boot::restore;
pub use keeper::Keeper;
pub use machine::Refused;
pub(crate) use probe::Probes;
pub use probe::{Elsewhere, Prober, ProbesWanted};
pub use record::RecordError;
pub use request::{News, Request, TrialError};
pub use roll_back::roll_back;

/// Names a change. Random, chosen by the host.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChangeId(pub [u8; 16]);

impl fmt::Display for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a change, which has 32 hexadecimal digits")]
pub struct ChangeIdError;

impl FromStr for ChangeId {
    type Err = ChangeIdError;

    fn from_str(text: &str) -> Result<Self, ChangeIdError> {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| plain);
        number
            .map(|number| Self(number.to_be_bytes()))
            .ok_or(ChangeIdError)
    }
}

/// Time since the boot, suspend included. A guest that sleeps with its host sleeps through neither
/// more nor less of a deadline than the host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanoseconds))
    }

    /// How long it is from `earlier` to now, nothing when that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = ChangeId([0x0a; 16]);
        assert_eq!(id.to_string(), "0a".repeat(16));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "0a", &"0g".repeat(16), &format!("+{}", "a".repeat(31))] {
            assert_eq!(bad.parse::<ChangeId>(), Err(ChangeIdError), "{bad}");
        }
    }
}
