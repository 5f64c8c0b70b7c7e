//! The same traffic over every carrier that needs no virtual machine: the host's own way to
//! connect, a real `lkc-guest` at the other end.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod existing;
mod matrix;
mod passphrase;
mod rotation;

use lkc_tests::Programs;

/// The programs under test.
const PROGRAMS: Programs = Programs {
    host: env!("CARGO_BIN_EXE_tested-lkc-host"),
    guest: env!("CARGO_BIN_EXE_tested-lkc-guest"),
    simulator: env!("CARGO_BIN_EXE_k3s-simulator"),
};
