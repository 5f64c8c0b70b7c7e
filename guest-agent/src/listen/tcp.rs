//! TCP, where somebody asked for it: anybody who reaches the address may try the keys.

use std::{io, net::SocketAddr};

use lkc_protocol::link::Locality;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpListener;

use super::Accepted;

/// Seconds without a byte after which the kernel asks whether the host is there, and between its
/// questions.
const KEEPALIVE: u32 = 15;

#[derive(Debug)]
pub(super) struct Listener(TcpListener);

impl Listener {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self)
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &KEEPALIVE)?;
        setsockopt(&stream, sockopt::TcpKeepInterval, &KEEPALIVE)?;
        Ok(Accepted::without_descriptors(
            stream,
            Locality::Remote,
            peer.to_string(),
        ))
    }
}
