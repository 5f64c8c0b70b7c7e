//! systemd-networkd carries the configuration out: files for it, word over D-Bus, and what came of it
//! read from the kernel as for any other means.
//!
//! The files are in `/run/systemd/network`, on every system alike: there a reboot takes back what
//! nobody confirmed, and NixOS' `/etc` is read-only. What was confirmed is rendered there again at
//! each boot, before networkd starts.

mod bus;
mod carry_out;
mod directory;
mod render;

pub(super) use bus::Bus;
pub use bus::BusError;
pub(super) use carry_out::{bring_back, carry_out};
pub use directory::FileError;
pub(super) use directory::{DIRECTORY, read, replace};
pub(super) use render::{File, fallback, files, is_card};
