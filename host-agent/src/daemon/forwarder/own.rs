//! Connections of a forward that the daemon itself makes to try it. They pass like anybody's, but
//! are counted apart, and whoever makes one learns whether our listener took it and when it ended.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use super::counters::ForwardCounters;

/// Who makes a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Caller {
    /// Whoever has this address.
    At(SocketAddr),
    /// This process, through a unix socket, whose clients have no addresses.
    ThisProcess,
}

/// The connections that are expected at a forward's listeners.
#[derive(Debug, Default)]
pub(in super::super) struct OwnConnections {
    expected: Mutex<Vec<Expected>>,
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Expected {
    number: u64,
    from: Caller,
    counters: Arc<ForwardCounters>,
    ended: oneshot::Sender<()>,
}

/// A connection of ours, from before it is made. Dropping it ends the expectation.
#[derive(Debug)]
pub(in super::super) struct OwnConnection {
    all: Arc<OwnConnections>,
    number: u64,
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
    pub(in super::super) fn expect(self: &Arc<Self>, from: Caller) -> OwnConnection {
        let counters = Arc::<ForwardCounters>::default();
        let (sender, ended) = oneshot::channel();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.lock().push(Expected {
            number,
            from,
            counters: Arc::clone(&counters),
            ended: sender,
        });
        let all = Arc::clone(self);
        OwnConnection {
            all,
            number,
            counters,
            ended,
        }
    }

    /// Takes a connection that was expected from `caller`; none for everybody else's.
    pub(super) fn take(&self, mut caller: Caller) -> Option<Taken> {
        if let Caller::At(peer) = &mut caller {
            // A listener on `::` sees IPv4 peers in IPv6 clothes.
            peer.set_ip(peer.ip().to_canonical());
        }
        let mut expected = self.lock();
        let place = expected.iter().position(|one| one.from == caller)?;
        let Expected {
            counters, ended, ..
        } = expected.remove(place);
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

    /// Waits until the target has accepted it, or our listener is done with it. Whether it did.
    pub(in super::super) async fn reached(&mut self) -> bool {
        let mut reached = self.counters.subscribe_reached();
        tokio::select! {
            biased;
            arrived = reached.wait_for(|&count| count > 0) => arrived.is_ok(),
            _ = &mut self.ended => self.counters.has_reached(),
        }
    }

    /// Whether our listener took it, or has taken it and served it to its end.
    pub(in super::super) fn was_taken(&self) -> bool {
        self.all.lock().iter().all(|one| one.number != self.number)
    }

    /// Waits until a failure of it was noted.
    pub(in super::super) async fn refused(&self) {
        self.counters.failure_noted().await;
    }

    /// Waits until our listener is done with it, so that its counters say how it ended.
    pub(in super::super) async fn ended(&mut self) {
        // An error is the sender's drop, which is the end.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for OwnConnection {
    fn drop(&mut self) {
        self.all.lock().retain(|one| one.number != self.number);
    }
}
