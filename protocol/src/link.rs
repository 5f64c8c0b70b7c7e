//! A link: a [`Session`](crate::session::Session) driven over a carrier, and the handles to it.
//!
//! [`connect`] and [`accept`] authenticate a carrier and give three things: a [`Link`] to open
//! streams with, the [`Incoming`] requests of the other end, and a [`Driver`], a future that moves
//! the bytes and must be run. One mutex guards the session; it is held for single calls and never
//! across an await. Who waits for a stream leaves a waker, which the driver wakes on its event.

mod driver;
mod duplex;
mod enrol;
mod establish;
#[cfg(feature = "test-util")]
mod pair;
mod shared;
mod stream;
mod whole;

pub use driver::{Driver, LinkEnd};
pub use duplex::{AnyCarrier, Duplex};
pub use enrol::{EnrolError, enrol};
pub use establish::{
    ConnectError, Encrypt, LinkOptions, Locality, STEP_DEADLINE, accept, connect, connect_within,
};
#[cfg(feature = "test-util")]
pub use pair::{Pair, pair};
pub use shared::{Incoming, IncomingRequest, Link, RequestError};
pub use stream::{ReadHalf, Stream, StreamError, WriteHalf};
pub use whole::Whole;
