//! The handshake under everything that a carrier or an enemy does to its bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod carrier;
mod pair;
mod peers;
mod tampering;
