//! A SOCKS5 listener: its clients name their targets themselves, and the guest's policy says which
//! of them may be reached. Names are resolved in the guest.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lkc_protocol::{
    error::RefusalCode,
    message::{Dial, DialNetwork},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    connection::{Connection, Reached, Refused},
    counters::{ForwardCounters, Layer},
};
use crate::socks::{Negotiation, Progress, Reply, SocksError};

/// Longest time from a connection to the last byte of its request. Programs say it all at once.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a client that is refused may take to read why, and how much it may send meanwhile.
const GRACE: Duration = Duration::from_secs(1);
const GRACE_BYTES: u64 = 64 * 1024;

/// Why a client did not say where it wants to go.
#[derive(Debug, thiserror::Error)]
enum NoTarget {
    #[error(transparent)]
    Socks(#[from] SocksError),
    #[error("the client ended within its request: {0}")]
    Io(#[from] io::Error),
    #[error("the client said nothing of use within {} s", DEADLINE.as_secs())]
    Late,
}

impl Connection {
    /// Serves one client of SOCKS to its end.
    pub(super) async fn serve_socks(self, mut tcp: TcpStream) {
        let counters = Arc::clone(&self.counters);
        counters.total.fetch_add(1, Ordering::Relaxed);
        let _open = ForwardCounters::hold(&counters.open);
        match self.dial_as_asked(&mut tcp).await {
            Ok(dialled) => self.carry(tcp, dialled).await,
            Err(refused) => self.note(&refused),
        }
    }

    /// Asks the client where it wants to go and connects there; it is told either way.
    async fn dial_as_asked(&self, tcp: &mut TcpStream) -> Result<Reached, Refused> {
        let target = match timeout(DEADLINE, negotiate(tcp)).await {
            Ok(asked) => asked,
            Err(_) => Err(NoTarget::Late),
        };
        let target = match target {
            Ok(target) => target,
            Err(error) => {
                if let NoTarget::Socks(error) = &error {
                    turn_away(tcp, &error.answer()).await;
                }
                return Err(Refused::by_client(error.to_string()));
            }
        };
        match self.dial(&target, tcp).await {
            Ok(dialled) => {
                let told = tcp.write_all(&Reply::Succeeded.encode()).await;
                told.map_err(|error| Refused::by_client(error.to_string()))?;
                Ok(dialled)
            }
            Err(refused) => {
                turn_away(tcp, &reply_to(&refused).encode()).await;
                Err(refused)
            }
        }
    }
}

async fn negotiate(tcp: &mut TcpStream) -> Result<Dial, NoTarget> {
    let mut negotiation = Negotiation::default();
    let mut buffer = [0; 257];
    loop {
        let step = &mut buffer[..negotiation.wants()];
        tcp.read_exact(step).await?;
        match negotiation.handle(step)? {
            Progress::More => {}
            Progress::Answer(answer) => tcp.write_all(&answer).await?,
            Progress::Connect(target) => {
                return Ok(Dial {
                    network: DialNetwork::Tcp,
                    host: target.host,
                    port: target.port,
                });
            }
        }
    }
}

/// Says why, and waits until the client has read it: with bytes unread, the end of a connection is a
/// reset, which takes the answer with it.
async fn turn_away(tcp: &mut TcpStream, answer: &[u8]) {
    let said = async {
        tcp.write_all(answer).await?;
        tcp.shutdown().await?;
        let mut rest = tcp.take(GRACE_BYTES);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // A client that does not wait for the answer needs none.
    let _ = timeout(GRACE, said).await;
}

fn reply_to(refused: &Refused) -> Reply {
    match (refused.code, refused.layer) {
        (Some(RefusalCode::Denied), _) => Reply::NotAllowed,
        (Some(RefusalCode::Unreachable), _) => Reply::ConnectionRefused,
        (Some(RefusalCode::NoRoute | RefusalCode::Unresolved), _) => Reply::HostUnreachable,
        (Some(RefusalCode::Timeout), _) => Reply::TimedOut,
        (None, Layer::Carrier) => Reply::NetworkUnreachable,
        (Some(_) | None, _) => Reply::Failure,
    }
}

#[cfg(test)]
mod tests;
