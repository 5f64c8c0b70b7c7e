//! What `lkc-host` and `lkc-guest` agree on. `PROTOCOL.md` beside this crate is the contract in prose.
//!
//! A carrier (any reliable ordered byte stream) becomes a link in four steps, each a module:
//! [`preface`] finds the other end in the noise, [`handshake`] authenticates it, [`hello`] says who
//! we are and what we can do, and [`frame`]s carry streams from then on. [`session`] holds the
//! streams and their credit, [`message`] what the two agents say on them.
//!
//! Everything is a state machine that takes bytes and instants and gives bytes and events, except
//! [`link`], [`relay`] and [`handover`], which exist with the `tokio` feature only and hold every
//! await of this crate. Deliberately absent: sockets, clocks, files, the environment, and any knowledge of which
//! agent one is in beyond [`Role`](hello::Role).

pub mod chunks;
pub mod codec;
pub mod datagram;
pub mod enrolment;
pub mod error;
pub mod exec;
pub mod frame;
pub mod handshake;
pub mod hello;
pub mod identity;
pub mod message;
pub mod preface;
pub mod session;
pub mod version;

#[cfg(feature = "tokio")]
pub mod handover;
#[cfg(feature = "tokio")]
pub mod link;
#[cfg(feature = "tokio")]
pub mod relay;
