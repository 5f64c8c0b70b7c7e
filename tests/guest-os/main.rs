//! A real operating system: a Debian of packages with systemd as its first process, networkd,
//! resolved, the packaged units of the agent and of k3s, booted in namespaces with two network cards.
//!
//! `tests/guest-os/run` installs what they need, makes the system and runs them; without what it
//! hands over in the environment they say that they were skipped, and why.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod boots;
mod clock;
mod cluster;
mod first_boot;
mod host;
mod idle;
mod k3s;
mod logs;
mod machine;
mod network;
mod privileges;
mod random;
mod rest;
mod trial;
mod wire;
