//! What two programs can see of the TCP connection between them: a table of scripts, each with a
//! part for the client and one for the server, which can be played over any way from one to the
//! other. A tunnel is right where both see exactly what they see without it.
//!
//! [`all`] is the table, [`play()`] plays a line of it and says what either end saw. The scripts have
//! no race: where one end must not go on before the other has come so far, it is told so beside the
//! connection, and what is not told is seen on the connection itself.
//!
//! One difference no listener can avoid: it takes the client's connection before it knows whether
//! the target will have it, so where a direct client's connect is refused, a forwarded client is
//! connected and then reset before a byte. [`Difference::Unavoidable`] is this and nothing else; a
//! refused target that looks like an empty success is a difference like any other. Not compared,
//! because no proxy has them: the addresses that the server sees, and urgent data, whose mark is
//! lost by whoever copies bytes.

mod ends;
mod script;
mod table;

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

pub use ends::Seen;
use ends::{End, Turns};
pub use script::Behaviour;
pub use table::{all, every_split};

/// What both ends saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the client saw.
    pub client: Vec<Seen>,
    /// What the server saw.
    pub server: Vec<Seen>,
}

/// How a record differs from that of a direct connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Not at all.
    None,
    /// The target refused; directly it is the connect that fails, here a reset before any byte.
    Unavoidable,
    /// An end can tell.
    Told,
}

impl Record {
    /// How this record differs from a direct one of the same behaviour.
    #[must_use]
    pub fn differs_from(&self, direct: &Self) -> Difference {
        if self == direct {
            return Difference::None;
        }
        let refused = direct.client == [Seen::Refused];
        let reset = self.client == [Seen::read(0, Seen::NOTHING, "reset")];
        if refused && reset && self.server == direct.server {
            Difference::Unavoidable
        } else {
            Difference::Told
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, seen) in [("client", &self.client), ("; server", &self.server)] {
            write!(formatter, "{name}:")?;
            for (index, seen) in seen.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                write!(formatter, "{comma} {seen}")?;
            }
            if seen.is_empty() {
                write!(formatter, " –")?;
            }
        }
        Ok(())
    }
}

/// Plays `behaviour` between a client that connects to `entry` and a server that accepts on
/// `listener`; each step that waits for the other end waits at most for `patience`.
///
/// For a behaviour [without a server](Behaviour::is_refused) `entry` must lead to a port where nobody
/// listens, and `listener` is not used.
pub async fn play(
    behaviour: &Behaviour,
    entry: SocketAddr,
    listener: &TcpListener,
    patience: Duration,
) -> Record {
    let (clients_turn, servers_turn) = Turns::pair();
    // Before the server does anything: a connection that is reset at once is made all the same.
    let mut client = match timeout(patience, TcpStream::connect(entry)).await {
        Ok(Ok(tcp)) => End::connected(tcp, clients_turn, patience),
        Ok(Err(error)) => End::failed(Seen::of_connect(&error)),
        Err(_) => End::failed(Seen::Hangs("connect")),
    };
    let mut server = End::accepting(listener, servers_turn, patience);
    // Neither connection is closed before both scripts are over, but by its script.
    tokio::join!(
        client.play(behaviour.client()),
        server.play(behaviour.server())
    );
    Record {
        client: client.into_seen(),
        server: server.into_seen(),
    }
}
