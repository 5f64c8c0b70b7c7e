//! Letting a host in by a token; see [`enrolment`](crate::enrolment).

use bincode::{Decode, Encode};

/// Asks the guest to let a host in from now on. Only on a link whose host has shown the token's key,
/// on which nothing else is answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Enrol {
    /// The host's Ed25519 public key.
    pub key: [u8; 32],
    /// What the host is called, for people.
    pub name: String,
}

/// The host is let in, and the token is used up.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Enrolled {
    /// Proves that the guest has the token, on this session. Until it is checked the host knows
    /// nothing of who answered.
    pub proof: [u8; 32],
}
