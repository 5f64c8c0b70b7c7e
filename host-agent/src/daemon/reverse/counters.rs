//! What a reverse forward has done so far, counted as it happens.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use lkc_protocol::relay;

use super::super::forwarder::Layer;
use crate::{control::ReverseStatus, sanitize};

/// Counters of a reverse forward since it was first asked for.
#[derive(Debug, Default)]
pub(in super::super) struct ReverseCounters {
    open: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    pub(super) bytes: relay::Counters,
    last_failure: Mutex<Option<String>>,
}

impl ReverseCounters {
    /// Counts a connection that arrived, as open until the guard is dropped.
    pub(super) fn arrived(&self) -> Open<'_> {
        self.total.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(&self.open)
    }

    /// Counts a target that refused.
    pub(super) fn refused(&self, why: &str) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.note(Layer::Target, why);
    }

    /// Counts any other failure.
    pub(super) fn failed(&self, layer: Layer, why: &str) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.note(layer, why);
    }

    fn note(&self, layer: Layer, why: &str) {
        let told = format!("{layer}: {}", sanitize::line(why));
        *self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(told);
    }

    /// Fills in what is shown. Why it does not listen comes before what a connection met.
    pub(in super::super) fn show(&self, status: &mut ReverseStatus) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        status.open = load(&self.open);
        status.total = load(&self.total);
        status.refused = load(&self.refused);
        status.failed = load(&self.failed);
        // The relay stands beside the target: what it reads there goes to the client.
        status.sent_bytes = load(&self.bytes.received);
        status.received_bytes = load(&self.bytes.sent);
        let last = self
            .last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        status.last_error = status.last_error.take().or_else(|| last.clone());
    }
}

/// A connection counted as open while this lasts.
pub(super) struct Open<'a>(&'a AtomicU64);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
