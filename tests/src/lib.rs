//! What the end-to-end tests stand on: [`TestEnv`], a user with a home of its own in which the real
//! programs run, [`Invocation`], one command with a deadline, and [`leftovers`], which finds what a
//! test left behind.
//!
//! Deliberately absent: the environment of whoever runs the tests, fixed ports, and sleeps. The one
//! thing that polls is [`eventually()`].

pub mod behaviours;
pub mod carriers;
mod eventually;
mod invocation;
pub mod leftovers;
mod outcome;
pub mod process;
mod redact;
pub mod sshd;
mod test_env;
mod user;

pub use eventually::{eventually, within};
pub use invocation::{Invocation, Running};
pub use outcome::{Checked, Outcome};
pub use test_env::{ClusterPorts, Programs, TestEnv, find_program, loopbacks};
pub use user::User;

/// Says that a test could not run here, in the words that CI looks for.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads the tests' output must see it"
)]
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
