//! One forward: listeners on the host, and each of their connections through the link to its target.
//!
//! Listeners stay while links come and go. A connection that comes without a link is parked until
//! there is one, up to [`PARK_DEADLINE`]; one that cannot reach its target is reset, never closed as
//! if it had been served. Connections that stand outlive their listener and end with their link.

mod connection;
mod counters;
mod listener;
mod own;
mod socks;
mod udp;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use counters::{ForwardCounters, Layer};
pub(super) use listener::{BindError, Listener, bind};
pub(super) use own::{OwnConnection, OwnConnections};

use super::guest_link::LinkSlot;
use crate::config::{ForwardProtocol, ForwardSpec};
use connection::Connection;
use udp::{UdpDoor, UdpLimits};

/// How long a connection waits for a link before it is reset. A guest restarts in less; a client
/// that waits longer would sooner be told.
const PARK_DEADLINE: Duration = Duration::from_secs(10);

/// Connections of one forward at once; more wait in the kernel's queue. Each holds one descriptor
/// here, and a daemon has at least four thousand.
const MAX_CONNECTIONS: usize = 1024;

/// Pause after an accept that failed for want of descriptors or memory, which only the end of some
/// other connection mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A forward that listens. Dropping it closes the listeners and resets what is parked.
#[derive(Debug)]
pub(super) struct Forwarder {
    spec: Arc<ForwardSpec>,
    counters: Arc<ForwardCounters>,
    way_in: WayIn,
    token: CancellationToken,
}

/// How the daemon itself connects to a forward, as any client would.
#[derive(Debug, Clone)]
pub(super) struct WayIn {
    /// Where each of the listeners is reached from this host.
    pub(super) addresses: Vec<SocketAddr>,
    /// To say beforehand that a connection is ours.
    pub(super) own: Arc<OwnConnections>,
}

impl Forwarder {
    /// Serves `listeners`. The tasks are `tasks`' to wait for.
    pub(super) fn start(
        spec: ForwardSpec,
        listeners: Vec<Listener>,
        links: &LinkSlot,
        tasks: &TaskTracker,
    ) -> Self {
        let limits = UdpLimits::shared_by(listeners.len());
        Self::start_with(limits, spec, listeners, links, tasks)
    }

    fn start_with(
        udp_limits: UdpLimits,
        spec: ForwardSpec,
        listeners: Vec<Listener>,
        links: &LinkSlot,
        tasks: &TaskTracker,
    ) -> Self {
        let addresses = listeners.iter().filter_map(reached_at).collect();
        let own = Arc::default();
        let forwarder = Self {
            spec: Arc::new(spec),
            counters: Arc::default(),
            way_in: WayIn { addresses, own },
            token: CancellationToken::new(),
        };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for listener in listeners {
            let own = Arc::clone(&forwarder.way_in.own);
            let connection = Connection {
                spec: Arc::clone(&forwarder.spec),
                counters: Arc::clone(&forwarder.counters),
                links: links.clone(),
                token: forwarder.token.clone(),
                park: PARK_DEADLINE,
            };
            match listener {
                Listener::Tcp(listener) => tasks.spawn(
                    Door {
                        listener,
                        permits: Arc::clone(&permits),
                        tasks: tasks.clone(),
                        own,
                        connection,
                    }
                    .serve(),
                ),
                Listener::Udp(socket) => tasks.spawn(
                    UdpDoor {
                        socket,
                        tasks: tasks.clone(),
                        own,
                        connection,
                        limits: udp_limits,
                    }
                    .serve(),
                ),
            };
        }
        forwarder
    }

    pub(super) const fn spec(&self) -> &Arc<ForwardSpec> {
        &self.spec
    }

    pub(super) fn counters(&self) -> &Arc<ForwardCounters> {
        &self.counters
    }

    pub(super) const fn way_in(&self) -> &WayIn {
        &self.way_in
    }

    /// Cancelled when the forward is closed.
    pub(super) fn closed(&self) -> CancellationToken {
        self.token.child_token()
    }
}

/// Where a client on this host connects to a listener; one on every address is met on loopback.
fn reached_at(listener: &Listener) -> Option<SocketAddr> {
    let mut address = listener.local_address().ok()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(address)
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// A listener with what its connections need.
struct Door {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    own: Arc<OwnConnections>,
    connection: Connection,
}

impl Door {
    async fn serve(self) {
        let token = self.connection.token.clone();
        let accepting = async {
            loop {
                // A permit first: without one the connection stays in the kernel's queue.
                let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                    return;
                };
                match self.listener.accept().await {
                    Ok((tcp, peer)) => {
                        let mut connection = self.connection.clone();
                        let taken = self.own.take(peer);
                        if let Some(taken) = &taken {
                            connection.counters = Arc::clone(&taken.counters);
                        }
                        self.tasks.spawn(async move {
                            match connection.spec.protocol {
                                ForwardProtocol::Socks => connection.serve_socks(tcp).await,
                                ForwardProtocol::Tcp | ForwardProtocol::Udp => {
                                    connection.serve(tcp).await;
                                }
                            }
                            drop((permit, taken));
                        });
                    }
                    Err(error) if is_one_connections(&error) => {}
                    Err(error) => {
                        let forward = &self.connection.spec.name;
                        tracing::warn!(%forward, %error, "cannot accept connections");
                        let why = format!("cannot accept: {error}");
                        self.connection.counters.failed(Layer::Host, &why);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        token.run_until_cancelled(accepting).await;
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

#[cfg(test)]
pub(super) mod tests;
