//! One hop that only copies: the least that a relay in user space can cost.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::JoinSet,
};

use crate::{
    Failure,
    tunnel::{answer, order, until_ended},
};

/// Bytes copied at once.
const BUFFER: usize = 256 * 1024;

/// What the hop is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HopOrder {
    pub(crate) target: SocketAddr,
}

/// Answers with the address that it relays.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run() -> Result<(), Failure> {
    let (order, ended): (HopOrder, _) = order()?;
    until_ended(Builder::new_multi_thread(), ended, async move {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(Failure::to("listen"))?;
        let address = listener.local_addr().map_err(Failure::to("listen"))?;
        answer(&address.to_string())?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.map_err(Failure::to("accept"))?;
                    connections.spawn(copy(client, order.target));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    })
}

async fn copy(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    // Its clients see how it ended.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await;
}
