//! One forward: listeners on the host, and each of their connections through the link to its target.
//!
//! Listeners stay while links come and go. A connection that comes without a link is parked until
//! there is one, up to [`PARK_DEADLINE`]; one that cannot reach its target is reset, never closed as
//! if it had been served. Connections that stand outlive their listener and end with their link.

mod connection;
mod counters;
mod door;
mod listener;
mod own;
mod socks;
mod udp;
mod unix_socket;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use counters::{ForwardCounters, Layer};
pub(super) use listener::{BindError, Listener, Place, bind};
pub(super) use own::{Caller, OwnConnection, OwnConnections};

use super::guest_link::LinkSlot;
use crate::config::ForwardSpec;
use connection::Connection;
use door::{Acceptor, Door};
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

/// A forward that listens. Dropping it closes the listeners, as their tasks come to it, and resets
/// what is parked.
#[derive(Debug)]
pub(super) struct Forwarder {
    spec: Arc<ForwardSpec>,
    counters: Arc<ForwardCounters>,
    way_in: WayIn,
    token: CancellationToken,
    /// The listeners' tasks; not those of connections.
    doors: TaskTracker,
}

/// How the daemon itself connects to a forward, as any client would.
#[derive(Debug, Clone)]
pub(super) struct WayIn {
    /// Where each of the listeners is reached from this host.
    pub(super) places: Vec<Place>,
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
        let places = listeners.iter().filter_map(reached_at).collect();
        let own = Arc::default();
        let forwarder = Self {
            spec: Arc::new(spec),
            counters: Arc::default(),
            way_in: WayIn { places, own },
            token: CancellationToken::new(),
            doors: TaskTracker::new(),
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
            let acceptor = match listener {
                Listener::Tcp(listener) => Acceptor::Tcp(listener),
                Listener::Unix(listener) => Acceptor::Unix(listener),
                Listener::Udp(socket) => {
                    let door = UdpDoor {
                        socket,
                        tasks: tasks.clone(),
                        own,
                        connection,
                        limits: udp_limits,
                    };
                    tasks.spawn(forwarder.doors.track_future(door.serve()));
                    continue;
                }
            };
            let door = Door {
                listener: acceptor,
                permits: Arc::clone(&permits),
                tasks: tasks.clone(),
                own,
                connection,
            };
            tasks.spawn(forwarder.doors.track_future(door.serve()));
        }
        forwarder.doors.close();
        forwarder
    }

    /// Its listeners, to wait for once it is dropped.
    pub(super) fn doors(&self) -> TaskTracker {
        self.doors.clone()
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
fn reached_at(listener: &Listener) -> Option<Place> {
    let mut place = listener.place().ok()?;
    if let Place::Address(address) = &mut place {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
    }
    Some(place)
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

#[cfg(test)]
pub(super) mod tests;
