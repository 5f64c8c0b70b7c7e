//! The proof that a host reaches an address: a listener there gives it to whoever connects.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::machine::Secret;

/// Port of the listeners; a firewall has to let it in.
const PORT: u16 = 5001;

/// How long a client may take to read sixteen bytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long another process may take to listen.
const ELSEWHERE: Duration = Duration::from_secs(2);

/// Who answers probes.
#[derive(Debug, Clone)]
pub enum Prober {
    /// This process.
    Here,
    /// Another one, which has the network.
    Elsewhere(Arc<Elsewhere>),
}

/// What another process is to listen for, and where it does.
#[derive(Debug, Default)]
pub struct Elsewhere {
    wanted: watch::Sender<Option<ProbesWanted>>,
    listening: watch::Sender<Vec<SocketAddr>>,
}

/// Listeners that are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ProbesWanted {
    /// On these addresses.
    pub addresses: Vec<IpAddr>,
    /// They give this away.
    pub secret: [u8; 16],
}

impl Elsewhere {
    /// What is wanted, now and with every change.
    #[must_use]
    pub fn wanted(&self) -> watch::Receiver<Option<ProbesWanted>> {
        self.wanted.subscribe()
    }

    /// It listens, if that is for what is wanted now.
    pub fn listens(&self, secret: [u8; 16], addresses: Vec<SocketAddr>) {
        let wanted = self.wanted.borrow();
        if wanted
            .as_ref()
            .is_some_and(|wanted| wanted.secret == secret)
        {
            self.listening.send_replace(addresses);
        }
    }
}

/// Listeners that go when it is dropped.
pub(super) enum Probing {
    Here(Probes),
    Elsewhere(Arc<Elsewhere>),
}

impl Prober {
    /// Has it listen on the addresses.
    pub(super) async fn listen(&self, addresses: Vec<IpAddr>, secret: Secret) -> Probing {
        let elsewhere = match self {
            Self::Here => return Probing::Here(Probes::listen(addresses, secret).await),
            Self::Elsewhere(elsewhere) => Arc::clone(elsewhere),
        };
        let mut listening = elsewhere.listening.subscribe();
        let wanted = ProbesWanted { addresses, secret };
        elsewhere.listening.send_replace(Vec::new());
        elsewhere.wanted.send_replace(Some(wanted));
        let begun = listening.wait_for(|addresses| !addresses.is_empty());
        if tokio::time::timeout(ELSEWHERE, begun).await.is_err() {
            tracing::warn!("the agent does not say that it answers probes");
        }
        Probing::Elsewhere(elsewhere)
    }
}

impl Probing {
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Here(probes) => probes.addresses.clone(),
            Self::Elsewhere(elsewhere) => elsewhere.listening.borrow().clone(),
        }
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        if let Self::Elsewhere(elsewhere) = self {
            elsewhere.wanted.send_replace(None);
        }
    }
}

/// Listens on the addresses until it is dropped.
pub(crate) struct Probes {
    pub(crate) addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Probes {
    /// Listens where it can: what is not there when the host looks is not reached either.
    pub(crate) async fn listen(
        addresses: impl IntoIterator<Item = IpAddr>,
        secret: Secret,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let mut listening = Vec::new();
        for ip in addresses {
            let address = SocketAddr::new(ip, PORT);
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    listening.push(address);
                    tasks.spawn(serve(listener, secret));
                }
                Err(error) => tracing::warn!(%error, %address, "no probe can be answered"),
            }
        }
        Self {
            addresses: listening,
            _tasks: tasks,
        }
    }
}

/// One client after the other: an honest host is one.
async fn serve(listener: TcpListener, secret: Secret) {
    loop {
        let Ok((mut client, _)) = listener.accept().await else {
            return;
        };
        let _ = tokio::time::timeout(PATIENCE, async {
            client.write_all(&secret).await?;
            client.shutdown().await
        })
        .await;
    }
}
