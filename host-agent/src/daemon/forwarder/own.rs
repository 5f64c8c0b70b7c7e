//! Connections of a forward that the daemon itself makes to try it. They pass like anybody's, but
//! are counted apart, and whoever makes one learns whether our listener took it and when it ended.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::counters::ForwardCounters;

/// The connections that are expected at a forward's listeners.
#[derive(Debug, Default)]
pub(in super::super) struct OwnConnections {
    expected: Mutex<Vec<Expected>>,
}

#[derive(Debug)]
struct Expected {
    from: SocketAddr,
    counters: Arc<ForwardCounters>,
    ended: oneshot::Sender<()>,
}

/// A connection of ours, from before it is made. Dropping it ends the expectation.
#[derive(Debug)]
pub(in super::super) struct OwnConnection {
    all: Arc<OwnConnections>,
    from: SocketAddr,
    counters: Arc<ForwardCounters>,
    ended: oneshot::Receiver<()>,
}

/// What the listener's side holds of a connection of ours while it serves it.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) counters: Arc<ForwardCounters>,
    /// Dropped at the end of the connection, which is what the other side hears.
    _ended: oneshot::Sender<()>,
}

impl OwnConnections {
    /// Says that the next connection from `from` is ours.
    pub(in super::super) fn expect(self: &Arc<Self>, from: SocketAddr) -> OwnConnection {
        let counters = Arc::<ForwardCounters>::default();
        let (sender, ended) = oneshot::channel();
        self.lock().push(Expected {
            from,
            counters: Arc::clone(&counters),
            ended: sender,
        });
        let all = Arc::clone(self);
        OwnConnection {
            all,
            from,
            counters,
            ended,
        }
    }

    /// Takes a connection that was expected from `peer`; none for everybody else's.
    pub(super) fn take(&self, peer: SocketAddr) -> Option<Taken> {
        // A listener on `::` sees IPv4 peers in IPv6 clothes.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let mut expected = self.lock();
        let place = expected.iter().position(|one| one.from == peer)?;
        let Expected {
            counters, ended, ..
        } = expected.swap_remove(place);
        Some(Taken {
            counters,
            _ended: ended,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Expected>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnConnection {
    /// What was counted of it.
    pub(in super::super) fn counters(&self) -> &ForwardCounters {
        &self.counters
    }

    /// Whether our listener took it, or has taken it and served it to its end.
    pub(in super::super) fn was_taken(&self) -> bool {
        self.all.lock().iter().all(|one| one.from != self.from)
    }

    /// Waits until our listener is done with it, so that its counters say how it ended.
    pub(in super::super) async fn ended(&mut self) {
        // An error is the sender's drop, which is the end.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        self.all.lock().retain(|one| one.from != self.from);
    }
}
