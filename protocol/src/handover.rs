//! Connected sockets that the guest hands to the host, where one kernel serves both. `PROTOCOL.md §9`.
//!
//! A stream costs each byte two more copies and a turn in another process. Where the carrier is a
//! unix socket between processes of one kernel, none of that is needed: the guest applies its
//! policy, connects, and hands the connected socket over; the host joins it to its client. What the
//! guest may reach is decided by the guest as ever, nothing of the host enters the guest, and a
//! connection that was handed over survives the link.
//!
//! ```text
//!   guest                                             host
//!   first bytes on the carrier, one end of a pair ──▶ keeps that end, if it arrives
//!   proof of the link's keys  ◀── on the pair ──▶     proof of the link's keys
//!   dials, puts number and socket on the pair     ──▶
//!   HandedOver{number} on the link                ──▶ takes the socket of that number
//! ```
//!
//! The pair arrives or it does not: a proxy on the way loses it, another kernel cannot send it, and
//! the link works without it. The proofs come out of the TLS session, so that nobody but the ends
//! of this very link is listened to. A link that stays encrypted hands nothing over: whoever wants
//! every byte sealed would not have it otherwise.

mod carrier;
mod dial;
mod giver;
mod pair;
mod taker;

pub use carrier::{HandoverCarrier, offer, take};
pub use dial::{Connection, DialError, dial};
pub use giver::{Giver, Offered};
pub use taker::{Arrival, Expected, HandoverError, Taker};

/// What each end says first on the pair.
type Proof = [u8; 32];
