//! A listener of a UDP forward: an association, which is a stream to the guest, per client address.
//!
//! Nothing is queued where a stream has no room and nobody waits for anybody: what cannot go on at
//! once is dropped and counted, as a network does. A socket that is bound to every address answers
//! from the one that the system chooses.

mod association;
mod associations;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{sleep, sleep_until},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    ACCEPT_PAUSE,
    connection::Connection,
    counters::Layer,
    own::{Caller, OwnConnections},
};
use association::Association;
use associations::Associations;

/// How long an association of which nothing is heard, from either side, is kept. Name servers
/// answer within seconds and who keeps a conversation alive says something every half minute or
/// so; a client that is silent for longer gets another port of the guest's, and nothing worse.
const IDLE: Duration = Duration::from_secs(60);

/// Associations of one forward at once. Each is a socket in the guest, where connections of TCP
/// forwards are as many. A client that asks from another port each time fills it in the time
/// of [`IDLE`] with seventeen questions a second; from then on the oldest answered one goes.
const MAX_ASSOCIATIONS: usize = 1024;

/// Datagrams of an association that wait for its stream to be there, or to be looked at: what a
/// client sends before it can have heard anything.
const WAITING: usize = 32;

/// Datagrams taken in a row before others get their turn.
const BURST: usize = 64;

/// Room for any datagram. One that is cut off has more bytes than can be carried.
const BUFFER: usize = 64 * 1024;

/// A UDP listener with what its associations need.
pub(super) struct UdpDoor {
    pub(super) socket: UdpSocket,
    pub(super) tasks: TaskTracker,
    pub(super) own: Arc<OwnConnections>,
    pub(super) connection: Connection,
    pub(super) limits: UdpLimits,
}

/// What bounds the associations of one listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct UdpLimits {
    pub(super) most: usize,
    pub(super) idle: Duration,
}

impl UdpLimits {
    /// The share of one of `listeners` of a forward.
    pub(super) fn shared_by(listeners: usize) -> Self {
        let most = MAX_ASSOCIATIONS / listeners.max(1);
        Self { most, idle: IDLE }
    }
}

type Table = Mutex<Associations<Way>>;

/// What leads to an association. Dropping it ends it.
#[derive(Debug)]
struct Way {
    datagrams: mpsc::Sender<Bytes>,
    _alive: DropGuard,
}

impl UdpDoor {
    /// Serves clients until the forward is closed, which ends their associations too.
    pub(super) async fn serve(self) {
        let token = self.connection.token.clone();
        token.run_until_cancelled(self.take_all()).await;
    }

    async fn take_all(self) {
        let Self {
            socket,
            tasks,
            own,
            connection,
            limits,
        } = self;
        let table = Mutex::new(Associations::new(limits.most, limits.idle));
        let counter = Counter {
            socket: Arc::new(socket),
            table: Arc::new(table),
            tasks,
            own,
            connection,
        };
        let mut buffer = vec![0; BUFFER];
        loop {
            let expiry = lock(&counter.table).next_expiry();
            let expired = async {
                match expiry {
                    Some(at) => sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ready = counter.socket.readable() => {
                    let taken = ready.and_then(|()| counter.take_burst(&mut buffer));
                    if let Err(error) = taken {
                        let forward = &counter.connection.spec.name;
                        tracing::warn!(%forward, %error, "cannot receive datagrams");
                        let why = format!("cannot receive: {error}");
                        counter.connection.counters.failed(Layer::Host, &why);
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
                () = expired => lock(&counter.table).expire(Instant::now()),
            }
        }
    }
}

/// Where datagrams are handed over to their associations.
struct Counter {
    socket: Arc<UdpSocket>,
    table: Arc<Table>,
    tasks: TaskTracker,
    own: Arc<OwnConnections>,
    connection: Connection,
}

impl Counter {
    fn take_burst(&self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BURST {
            match self.socket.try_recv_from(buffer) {
                Ok((length, client)) => self.take(&buffer[..length], client),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    // What became of an earlier datagram to some client.
                    io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    fn take(&self, datagram: &[u8], client: std::net::SocketAddr) {
        let datagram = Bytes::copy_from_slice(datagram);
        let mut table = lock(&self.table);
        let begin = |number| {
            let alive = CancellationToken::new();
            let (sender, datagrams) = mpsc::channel(WAITING);
            let mut connection = self.connection.clone();
            let taken = self.own.take(Caller::At(client));
            if let Some(taken) = &taken {
                connection.counters = Arc::clone(&taken.counters);
            }
            let association = Association {
                number,
                client,
                socket: Arc::clone(&self.socket),
                datagrams,
                table: Arc::downgrade(&self.table),
                connection,
            };
            let ended = alive.clone();
            self.tasks.spawn(async move {
                association.serve(ended).await;
                drop(taken);
            });
            Way {
                datagrams: sender,
                _alive: alive.drop_guard(),
            }
        };
        let way = table.admit(client, Instant::now(), begin);
        if way.datagrams.try_send(datagram).is_err() {
            self.connection.counters.dropped(1);
        }
    }
}

fn lock(table: &Table) -> MutexGuard<'_, Associations<Way>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
