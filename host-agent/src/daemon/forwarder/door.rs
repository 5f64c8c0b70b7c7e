//! A listener of connections, of TCP or on a unix socket.

use std::{io, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream, UnixStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::task::TaskTracker;

use super::{
    ACCEPT_PAUSE,
    connection::Connection,
    counters::Layer,
    own::{Caller, OwnConnections},
    unix_socket::SocketListener,
};
use crate::config::ForwardProtocol;

/// A listener with what its connections need.
pub(super) struct Door {
    pub(super) listener: Acceptor,
    pub(super) permits: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) own: Arc<OwnConnections>,
    pub(super) connection: Connection,
}

/// Where connections come from.
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(SocketListener),
}

/// A connection that was accepted.
enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Door {
    /// Accepts until the forward is closed. Connections that stand go on.
    pub(super) async fn serve(self) {
        let token = self.connection.token.clone();
        token.run_until_cancelled(self.accept_all()).await;
    }

    async fn accept_all(self) {
        loop {
            // A permit first: without one the connection stays in the kernel's queue.
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((client, caller)) => {
                    let mut connection = self.connection.clone();
                    let taken = caller.and_then(|caller| self.own.take(caller));
                    if let Some(taken) = &taken {
                        connection.counters = Arc::clone(&taken.counters);
                    }
                    self.tasks.spawn(async move {
                        client.serve(connection).await;
                        drop((permit, taken));
                    });
                }
                Err(error) if is_one_connections(&error) => {}
                Err(error) => {
                    let forward = &self.connection.spec.name;
                    tracing::warn!(%forward, %error, "cannot accept connections");
                    let why = format!("cannot accept: {error}");
                    self.connection.counters.failed(Layer::Host, &why);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Acceptor {
    /// The next connection, and who makes it where that can be told.
    async fn accept(&self) -> io::Result<(Client, Option<Caller>)> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, peer) = listener.accept().await?;
                Ok((Client::Tcp(tcp), Some(Caller::At(peer))))
            }
            Self::Unix(listener) => {
                let client = listener.accept().await?;
                let process = client.peer_cred().ok().and_then(|peer| peer.pid());
                let ours =
                    process.and_then(|pid| u32::try_from(pid).ok()) == Some(std::process::id());
                Ok((Client::Unix(client), ours.then_some(Caller::ThisProcess)))
            }
        }
    }
}

impl Client {
    async fn serve(self, connection: Connection) {
        match (self, connection.spec.protocol) {
            (Self::Tcp(tcp), ForwardProtocol::Socks) => connection.serve_socks(tcp).await,
            (Self::Tcp(tcp), ForwardProtocol::Tcp | ForwardProtocol::Udp) => {
                connection.serve(tcp).await;
            }
            (Self::Unix(unix), _) => connection.serve(unix).await,
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
