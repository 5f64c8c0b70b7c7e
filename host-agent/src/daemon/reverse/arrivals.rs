//! The guest's side of a link: what it may ask of this host, which is to take a connection that came
//! to a listener that we asked for on the same link.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    link::{Incoming, IncomingRequest, Stream, StreamError},
    message::{AnyRequest, Arrive, Arrived},
    relay::{RelayEnd, relay},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{
    super::forwarder::Layer,
    Reverse,
    target::{self, Connected},
};
use crate::sanitize;

/// Bounds of what a guest brings on one link.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Limits {
    /// Connections at once, of all listeners. Each holds one descriptor here, and a daemon has at
    /// least four thousand; an honest guest has at most 1,024 of one listener.
    pub(in super::super) connections: usize,
    /// Connections to one target that are being made at once; as many as an honest guest leaves
    /// unanswered.
    pub(in super::super) unanswered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            unanswered: 64,
        }
    }
}

/// What the guest may bring on one link.
#[derive(Debug)]
pub(in super::super) struct Arrivals {
    listeners: Mutex<Listeners>,
    limits: Limits,
    places: Arc<Semaphore>,
    denied: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Listeners {
    last: u32,
    by_id: HashMap<u32, Listener>,
}

#[derive(Debug, Clone)]
struct Listener {
    reverse: Arc<Reverse>,
    unanswered: Arc<Semaphore>,
}

enum Found {
    Listener(Listener),
    /// There was one: the guest did not know yet that it is over.
    LetGo,
    NeverWas,
}

impl Listeners {
    fn find(&self, id: u32) -> Found {
        match self.by_id.get(&id) {
            Some(listener) => Found::Listener(listener.clone()),
            None if (1..=self.last).contains(&id) => Found::LetGo,
            None => Found::NeverWas,
        }
    }
}

impl Arrivals {
    /// Nothing yet. What is refused because nobody here asked for it is counted in `denied`.
    pub(in super::super) fn new(limits: Limits, denied: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            listeners: Mutex::default(),
            limits,
            places: Arc::new(Semaphore::new(limits.connections)),
            denied,
        })
    }

    /// Takes what arrives under a new number for `reverse`, until the number is dropped.
    pub(in super::super) fn number(self: &Arc<Self>, reverse: &Arc<Reverse>) -> Number {
        let mut listeners = self.lock();
        listeners.last += 1;
        let id = listeners.last;
        let listener = Listener {
            reverse: Arc::clone(reverse),
            unanswered: Arc::new(Semaphore::new(self.limits.unanswered)),
        };
        listeners.by_id.insert(id, listener);
        drop(listeners);
        let arrivals = Arc::clone(self);
        Number { id, arrivals }
    }

    /// Takes or refuses what the guest asks, until the link ends; then waits until the last
    /// connection has ended with it.
    pub(in super::super) async fn serve(&self, mut incoming: Incoming) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(ended) = connections.join_next() => log_defect(ended),
                request = incoming.next() => match request {
                    Some(request) => self.judge(request, &mut connections),
                    None => break,
                },
            }
        }
        connections.shutdown().await;
    }

    fn judge(&self, request: IncomingRequest, connections: &mut JoinSet<()>) {
        let AnyRequest::Arrive(Arrive { listen }) = *request.request() else {
            return self.deny(request);
        };
        let Listener {
            reverse,
            unanswered,
        } = match self.lock().find(listen) {
            Found::Listener(listener) => listener,
            Found::LetGo => return request.refuse(&denied()),
            Found::NeverWas => return self.deny(request),
        };
        let place = Arc::clone(&self.places).try_acquire_owned();
        let unanswered = unanswered.try_acquire_owned();
        match (place, unanswered) {
            (Ok(place), Ok(unanswered)) => {
                connections.spawn(async move {
                    serve(request, &reverse, unanswered).await;
                    drop(place);
                });
            }
            _ => {
                let why = "the guest brings more connections at once than this host takes";
                reverse.counters.failed(Layer::Host, why);
                request.refuse(&Refusal::new(RefusalCode::Busy, ""));
            }
        }
    }

    /// Refuses what nobody here asked for. One line of the log for the first, the second, the
    /// fourth and so on: a guest must not be able to fill it.
    fn deny(&self, request: IncomingRequest) {
        let count = self.denied.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let asked = sanitize::line(&format!("{:?}", request.request()));
            tracing::warn!(
                count,
                "the guest asks for what nobody here has named: {asked}"
            );
        }
        request.refuse(&denied());
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn denied() -> Refusal {
    let text = "this host asked for no such connection";
    Refusal::new(RefusalCode::Denied, text)
}

fn log_defect(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection from the guest ended badly");
    }
}

/// The number of a listener; arrivals under it are taken while this lasts.
#[derive(Debug)]
pub(in super::super) struct Number {
    id: u32,
    arrivals: Arc<Arrivals>,
}

impl Number {
    /// The number itself.
    pub(in super::super) const fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.arrivals.lock().by_id.remove(&self.id);
    }
}

/// Serves a connection that arrived to its end.
async fn serve(request: IncomingRequest, reverse: &Reverse, unanswered: OwnedSemaphorePermit) {
    let Reverse { spec, counters } = reverse;
    let _open = counters.arrived();
    let connected = target::connect(&spec.target).await;
    // Before the answer: whoever has it may bring the next one.
    drop(unanswered);
    let end = match connected {
        Ok(Connected::Tcp(tcp)) => relay(tcp, taken(request), &counters.bytes).await,
        Ok(Connected::Unix(unix)) => relay(unix, taken(request), &counters.bytes).await,
        Err(unreached) => {
            tracing::info!(reverse = %spec.name, "connection refused: {}", unreached.why);
            counters.refused(&unreached.why);
            return request.refuse(&Refusal::new(unreached.code, ""));
        }
    };
    tracing::trace!(reverse = %spec.name, "connection ended: {end}");
    match end {
        RelayEnd::Socket(error) => counters.failed(Layer::Target, &error.to_string()),
        RelayEnd::Stream(error @ StreamError::LinkDown) => {
            counters.failed(Layer::Carrier, &error.to_string());
        }
        // The client's own end is no failure of the forward.
        RelayEnd::Stream(_) | RelayEnd::Finished => {}
    }
}

fn taken(request: IncomingRequest) -> Stream {
    request.accept::<Arrive>(&Arrived {})
}
