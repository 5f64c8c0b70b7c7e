//! A carrier that is cut, held, delayed or changed by a relay between host and guest: at places of
//! the handshake, and of a transfer that runs both ways.
//!
//! What must hold each time: an exact prefix and an error, or completion; an end within a deadline,
//! and never a clean one on truncated data; and when all is over the file descriptors, tasks and
//! processes that there were before. The descriptors are this process's own, so that these tests run
//! one at a time, in a program of their own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod arrangement;
mod baseline;
mod handshake;
mod transfer;

use std::sync::{Mutex, PoisonError};

use lkc_tests::{Programs, skipped, sshd::SshWorld};

use arrangement::Arrangement;
use baseline::Baseline;

/// The programs under test.
const PROGRAMS: Programs = Programs {
    host: env!("CARGO_BIN_EXE_tested-lkc-host"),
    guest: env!("CARGO_BIN_EXE_tested-lkc-guest"),
    simulator: env!("CARGO_BIN_EXE_k3s-simulator"),
};

/// Every this many bytes of a handshake is a place where something happens.
struct Every {
    /// It is cut.
    cut: usize,
    /// A bit is changed.
    flip: usize,
}

#[test]
fn unix_forwarded_cut_at_every_byte() {
    holds(Arrangement::unix, &Every { cut: 1, flip: 29 });
}

#[test]
fn tcp() {
    holds(Arrangement::tcp, &Every { cut: 17, flip: 97 });
}

#[test]
fn hybrid_in_plain() {
    holds(Arrangement::hybrid, &Every { cut: 17, flip: 97 });
}

#[test]
fn exec() {
    holds(Arrangement::exec, &Every { cut: 37, flip: 197 });
}

#[test]
fn ssh() {
    match SshWorld::new() {
        Ok(world) => holds(
            || Arrangement::ssh(world),
            &Every {
                cut: 397,
                flip: 797,
            },
        ),
        Err(missing) => skipped(&missing),
    }
}

/// A line has one user at a time and no connections: a preface that an end has missed shows only in
/// that the next attempt succeeds.
#[test]
fn serial() {
    alone(async {
        let arrangement = Arrangement::serial();
        let length = handshake::measure(&arrangement).await;
        transfer::completes(&arrangement).await;
        let baseline = Baseline::of(&arrangement);
        handshake::cut_on_a_line(&arrangement, length, 997).await;
        handshake::delay(&arrangement).await;
        baseline.is_back(&arrangement);
        transfer::cut(&arrangement, length).await;
        transfer::flip(&arrangement, length).await;
        transfer::fall_silent(&arrangement, length).await;
        baseline.is_back(&arrangement);
        transfer::completes(&arrangement).await;
    });
}

/// The one body.
fn holds(arrangement: impl FnOnce() -> Arrangement, every: &Every) {
    alone(async {
        let arrangement = arrangement();
        // What is made once, is made by then.
        let length = handshake::measure(&arrangement).await;
        transfer::completes(&arrangement).await;
        let baseline = Baseline::of(&arrangement);
        handshake::cut(&arrangement, length, every.cut).await;
        baseline.is_back(&arrangement);
        handshake::flip(&arrangement, length, every.flip).await;
        handshake::delay(&arrangement).await;
        handshake::fall_silent(&arrangement, length).await;
        baseline.is_back(&arrangement);
        transfer::cut(&arrangement, length).await;
        baseline.is_back(&arrangement);
        transfer::flip(&arrangement, length).await;
        transfer::delay(&arrangement).await;
        transfer::fall_silent(&arrangement, length).await;
        baseline.is_back(&arrangement);
        transfer::completes(&arrangement).await;
    });
}

/// Runs one test after the other.
fn alone(test: impl Future<Output = ()>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}
