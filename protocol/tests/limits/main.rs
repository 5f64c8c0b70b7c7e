//! An authenticated peer that keeps no rule: each limit ends in the coded error that PROTOCOL.md
//! promises, and until then costs no more memory and no more answers than it should.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod floods;
mod memory;
mod peer;
mod table;
