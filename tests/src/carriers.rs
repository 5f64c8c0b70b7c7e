//! What the tests of carriers have in common: what stands between host and guest in the field in the
//! test's own hands, an agent, and the traffic that has to pass.

use std::time::Duration;

#[cfg(feature = "programs")]
pub mod guest;
pub mod peers;
mod relay;
#[cfg(feature = "programs")]
pub mod traffic;

pub use relay::{End, Fault, Relay, Way};

/// Longest wait of a test for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);
