//! Real virtual machines: QEMU, Debian's kernel, systemd, the real agent in it, and a simulated k3s.
//!
//! `tests/vm/run` installs what they need, makes the disk image and runs them; without what it hands
//! over in the environment they say that they were skipped, and why.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod faults;
mod inside;
mod lab;
mod life;
mod monitor;
mod reboot;
mod resets;
mod serial;
mod throughput;
mod traffic;
