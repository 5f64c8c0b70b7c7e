//! What a forward has done so far, counted as it happens.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lkc_protocol::relay;
use tokio::sync::watch;

use crate::{control::ForwardStatus, sanitize};

/// The part that a connection failed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Layer {
    /// This host: the client's own connection.
    Host,
    /// The way to the guest: no link, or the link was lost.
    Carrier,
    /// The guest agent: its policy or its limits.
    Agent,
    /// What the forward leads to.
    Target,
}

impl fmt::Display for Layer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Host => "host",
            Self::Carrier => "carrier",
            Self::Agent => "agent",
            Self::Target => "target",
        })
    }
}

/// Counters of a forward since it was bound.
#[derive(Debug, Default)]
pub(in super::super) struct ForwardCounters {
    pub(super) open: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) parked: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    pub(super) bytes: relay::Counters,
    /// Connections that their target has accepted.
    reached: watch::Sender<u64>,
    /// Failures noted.
    failures: watch::Sender<u64>,
    last_failure: Mutex<Option<(Layer, String)>>,
}

impl ForwardCounters {
    /// Counts a target that refused.
    pub(super) fn refused(&self, layer: Layer, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.note(layer, why);
    }

    /// Counts any other failure.
    pub(super) fn failed(&self, layer: Layer, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.note(layer, why);
    }

    /// Counts a connection that its target has accepted.
    pub(super) fn reached(&self) {
        self.reached.send_modify(|count| *count += 1);
    }

    /// Whether a target has accepted a connection.
    pub(super) fn has_reached(&self) -> bool {
        *self.reached.borrow() > 0
    }

    /// The number of connections that their target has accepted, as it changes.
    pub(super) fn subscribe_reached(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Counts datagrams that could not go on.
    pub(super) fn dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    fn note(&self, layer: Layer, why: &str) {
        *self.lock_last() = Some((layer, sanitize::line(why)));
        self.failures.send_modify(|count| *count += 1);
    }

    /// Waits until there is a failure.
    pub(super) async fn failure_noted(&self) {
        let mut failures = self.failures.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = failures.wait_for(|&count| count > 0).await;
    }

    /// The layer of the last failure and what it was.
    pub(in super::super) fn last_failure(&self) -> Option<(Layer, String)> {
        self.lock_last().clone()
    }

    /// Whether a connection waits for a link now.
    pub(in super::super) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed) > 0
    }

    /// Whether bytes of a client went into the guest, which they do only once the guest has
    /// answered a dial.
    pub(in super::super) fn has_sent(&self) -> bool {
        self.bytes.sent.load(Ordering::Relaxed) > 0
    }

    fn lock_last(&self) -> MutexGuard<'_, Option<(Layer, String)>> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one up until the guard is dropped.
    pub(super) fn hold(gauge: &AtomicU64) -> Held<'_> {
        gauge.fetch_add(1, Ordering::Relaxed);
        Held(gauge)
    }

    /// Fills in what is shown.
    pub(in super::super) fn show(&self, status: &mut ForwardStatus) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        status.open = load(&self.open);
        status.total = load(&self.total);
        status.refused = load(&self.refused);
        status.parked = load(&self.parked);
        status.failed = load(&self.failed);
        status.dropped = load(&self.dropped);
        status.sent_bytes = load(&self.bytes.sent);
        status.received_bytes = load(&self.bytes.received);
        if let Some((layer, why)) = self.last_failure() {
            status.last_error = Some(format!("{layer}: {why}"));
        }
    }
}

/// Something counted while it lasts.
pub(super) struct Held<'a>(&'a AtomicU64);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
