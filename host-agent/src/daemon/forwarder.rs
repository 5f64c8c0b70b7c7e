//! One forward: listeners on the host, and each of their connections through the link to its target.
//!
//! Listeners stay while links come and go. A connection that comes without a link is parked until
//! there is one, up to [`PARK_DEADLINE`]; one that cannot reach its target is reset, never closed as
//! if it had been served. Connections that stand outlive their listener and end with their link.

mod connection;
mod counters;
mod listener;

use std::{io, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use counters::ForwardCounters;
use counters::Layer;
pub(super) use listener::{BindError, bind};

use super::guest_link::LinkSlot;
use crate::config::ForwardSpec;
use connection::Connection;

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
    token: CancellationToken,
}

impl Forwarder {
    /// Serves `listeners`. The tasks are `tasks`' to wait for.
    pub(super) fn start(
        spec: ForwardSpec,
        listeners: Vec<TcpListener>,
        links: &LinkSlot,
        tasks: &TaskTracker,
    ) -> Self {
        let forwarder = Self {
            spec: Arc::new(spec),
            counters: Arc::default(),
            token: CancellationToken::new(),
        };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        for listener in listeners {
            let door = Door {
                listener,
                permits: Arc::clone(&permits),
                tasks: tasks.clone(),
                connection: Connection {
                    spec: Arc::clone(&forwarder.spec),
                    counters: Arc::clone(&forwarder.counters),
                    links: links.clone(),
                    token: forwarder.token.clone(),
                    park: PARK_DEADLINE,
                },
            };
            tasks.spawn(door.serve());
        }
        forwarder
    }

    pub(super) fn spec(&self) -> &ForwardSpec {
        &self.spec
    }

    pub(super) fn counters(&self) -> &Arc<ForwardCounters> {
        &self.counters
    }
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
                    Ok((tcp, _)) => {
                        let connection = self.connection.clone();
                        self.tasks.spawn(async move {
                            connection.serve(tcp).await;
                            drop(permit);
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
mod tests;
