//! Two sessions, a pipe that does what carriers do, and actors that do what programs do, all from
//! one number: the seed. A reference model says what each end must answer at every step.
//!
//! ```text
//!   seed ─▶ Scenario ─▶ World ─┬─ two Sessions ── the code under test
//!           (limits,           ├─ two Pipes    ── split, delay, fill up, stall, vanish, cut
//!            operations)       ├─ handles      ── write, read, finish, reset, sleep; woken in any order
//!                              └─ Model        ── sees every byte on the pipes, knows the answers
//! ```
//!
//! A failure prints its seed, the shortest list of operations that still fails, and the command
//! that runs it again. A long campaign:
//!
//! ```text
//! LKC_SEEDS=100000 cargo test --release -p lkc-protocol --test simulation campaign
//! ```

mod actors;
mod campaign;
mod check;
mod content;
mod ends;
mod model;
mod operation;
mod pipe;
mod random;
mod receiving;
mod scenario;
mod sending;
mod shrink;
mod wind_up;
mod wire;
mod world;
