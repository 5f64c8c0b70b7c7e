//! The proof that a host reaches an address: a listener there gives it to whoever connects.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::machine::Secret;

/// Port of the listeners; a firewall has to let it in.
const PORT: u16 = 5001;

/// How long a client may take to read sixteen bytes.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listens on the addresses until it is dropped.
pub(super) struct Probes {
    pub(super) addresses: Vec<SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Probes {
    /// Listens where it can: what is not there when the host looks is not reached either.
    pub(super) async fn listen(
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
