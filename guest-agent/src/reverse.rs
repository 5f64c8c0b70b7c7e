//! Reverse forwards: listeners that the host asks for, and the connections that come to them.
//!
//! The host says where to listen, within the [`policy`], and keeps for itself what a listener leads
//! to: the guest names a connection's listener by its number and can ask for nothing else. A
//! listener lives as long as the stream of its request, so it ends with the link; a connection that
//! stands outlives its listener and ends with the link too. One that the host does not take is
//! reset, never closed as if it had been served.

pub mod policy;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    link::{IncomingRequest, Link, RequestError, Stream},
    message::{Arrive, Listen, Listening},
    relay::{Counters, relay, reset_tcp},
};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};

use crate::network;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// Longest wait for the host's answer to an arrival. The host gives up earlier and says why; this
/// is for one that says nothing.
const ARRIVE_DEADLINE: Duration = Duration::from_secs(20);

/// Pause after an accept that failed for want of descriptors or memory, which only the end of some
/// other connection mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of the listeners of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Listeners at once: more than anybody configures, few enough to hold descriptors for.
    pub listeners: usize,
    /// Connections of one listener at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one listener that wait for the host's answer at once. A target that is slow
    /// to accept must not use up the unanswered requests that the host allows the link.
    pub unanswered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            listeners: 64,
            connections: 1024,
            unanswered: 64,
        }
    }
}

/// The listeners of one link. Clones are the same.
#[derive(Debug, Clone)]
pub struct Listeners {
    link: Link,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Listeners {
    /// None yet.
    #[must_use]
    pub fn new(link: Link, limits: Limits) -> Self {
        Self {
            link,
            limits,
            places: Arc::new(Semaphore::new(limits.listeners)),
        }
    }

    /// Listens as asked until the host lets go of the request's stream, then until the last
    /// connection has ended; or says why not.
    pub async fn serve(&self, request: IncomingRequest, wanted: &Listen) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let most = self.limits.listeners;
            let text = format!("a link has at most {most} listeners");
            return request.refuse(&Refusal::new(RefusalCode::Busy, text));
        };
        match bind(wanted).await {
            Ok((listener, address)) => {
                tracing::info!(%address, "listens for the host");
                let stream = request.accept::<Listen>(&Listening {
                    address: address.to_string(),
                });
                let mut connections = JoinSet::new();
                self.accept(wanted.id, listener, stream, &mut connections)
                    .await;
                tracing::info!(%address, "listens no more");
                drop(place);
                while let Some(ended) = connections.join_next().await {
                    log_defect(ended);
                }
            }
            Err(refusal) => {
                let Listen { address, port, .. } = wanted;
                tracing::warn!(address, port, %refusal, "does not listen for the host");
                request.refuse(&refusal);
            }
        }
    }

    /// Accepts until the host lets go of the stream.
    async fn accept(
        &self,
        listen: u32,
        listener: TcpListener,
        mut stream: Stream,
        connections: &mut JoinSet<()>,
    ) {
        let door = Door {
            listener,
            places: Arc::new(Semaphore::new(self.limits.connections)),
            unanswered: Arc::new(Semaphore::new(self.limits.unanswered)),
        };
        let mut let_go = std::pin::pin!(until_let_go(&mut stream));
        loop {
            tokio::select! {
                () = &mut let_go => break,
                Some(ended) = connections.join_next() => log_defect(ended),
                accepted = door.next() => match accepted {
                    Ok(accepted) => {
                        connections.spawn(bring(accepted, self.link.clone(), listen));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection for the host");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

fn log_defect(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection for the host ended badly");
    }
}

/// The host says nothing on the stream of a listener but its end.
async fn until_let_go(stream: &mut Stream) {
    while let Ok(Some(_)) = stream.receive_raw().await {}
    stream.finish();
}

async fn bind(wanted: &Listen) -> Result<(TcpListener, SocketAddr), Refusal> {
    let own = if policy::needs_own_addresses(wanted) {
        network::own_addresses().await
    } else {
        Vec::new()
    };
    let address = policy::permit(wanted, &own)?;
    let listener = listen_on(address).map_err(|error| cannot_listen(address, &error))?;
    let bound = listener.local_addr().unwrap_or(address);
    Ok((listener, bound))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // So that connections of the last link that are still closing do not hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::AddrInUse => Refusal::new(
            RefusalCode::InUse,
            format!("{address} is in use in the guest"),
        ),
        _ => Refusal::new(RefusalCode::Failed, format!("{address}: {error}")),
    }
}

/// A listener with its bounds.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    unanswered: Arc<Semaphore>,
}

/// A connection with its places among those of its listener.
struct Accepted {
    tcp: Unserved,
    place: OwnedSemaphorePermit,
    unanswered: OwnedSemaphorePermit,
}

impl Door {
    /// The next connection, once there is a place for it: without one it stays in the kernel's
    /// queue. Cancel-safe.
    async fn next(&self) -> io::Result<Accepted> {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let unanswered = Arc::clone(&self.unanswered).acquire_owned().await;
            let (Ok(place), Ok(unanswered)) = (place, unanswered) else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((tcp, _)) => {
                    return Ok(Accepted {
                        tcp: Unserved(Some(tcp)),
                        place,
                        unanswered,
                    });
                }
                Err(error) if is_one_connections(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A connection that nobody serves yet: let go of, it is reset.
struct Unserved(Option<TcpStream>);

impl Unserved {
    /// Waits until the client has reset it and left nothing. What it had sent before, its end
    /// included, is for the target to read, as it is on a direct connection that nobody has accepted
    /// yet.
    async fn given_up(&self) {
        if let Some(tcp) = &self.0 {
            let _ = tcp.ready(Interest::ERROR).await;
            // After a reset nothing more comes, so that this does not wait.
            if tcp.peek(&mut [0]).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    fn take(mut self) -> Option<TcpStream> {
        self.0.take()
    }
}

impl Drop for Unserved {
    fn drop(&mut self) {
        if let Some(tcp) = self.0.take() {
            reset_tcp(tcp);
        }
    }
}

/// Whether an accept failed because of the connection that it would have given.
fn is_one_connections(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Brings a connection to the host and serves it to its end.
async fn bring(accepted: Accepted, link: Link, listen: u32) {
    let Accepted {
        tcp,
        place,
        unanswered,
    } = accepted;
    let arrival = Arrive { listen };
    let answer = tokio::select! {
        biased;
        answer = timeout(ARRIVE_DEADLINE, link.request(&arrival)) => answer,
        () = tcp.given_up() => {
            tracing::debug!(listen, "a client gave up before the host had answered");
            return;
        }
    };
    drop(unanswered);
    let why = match answer {
        Ok(Ok((_, stream))) => {
            if let Some(tcp) = tcp.take() {
                let end = relay(tcp, stream, &Counters::default()).await;
                tracing::trace!(listen, %end, "connection ended");
            }
            drop(place);
            return;
        }
        Ok(Err(RequestError::Refused(refusal))) => refusal.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", ARRIVE_DEADLINE.as_secs()),
    };
    tracing::debug!(listen, why, "the host did not take a connection");
}

#[cfg(test)]
mod tests;
