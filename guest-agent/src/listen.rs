//! Where hosts come in. One listener per carrier; what it accepts is only a carrier, the
//! handshake decides who is behind it.

mod address;
mod serial;
mod tcp;
mod unix;
mod vsock;

use std::{io, path::PathBuf};

use lkc_protocol::{
    handover::Offered,
    link::{AnyCarrier, Duplex, Locality},
};
use thiserror::Error;

pub use address::ListenAddress;

/// Why a listener cannot be bound.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another agent answers there.
    #[error("{} is in use by another agent", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is there.
    #[error("{} exists and is no socket: remove it or listen elsewhere", .0.display())]
    NotASocket(PathBuf),
    /// The operating system says no.
    #[error("cannot listen on {address}")]
    Io {
        /// Where.
        address: ListenAddress,
        /// Why.
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix(unix::Listener),
    Vsock(vsock::Listener),
    Tcp(tcp::Listener),
    Serial(serial::Line),
}

/// What a listener accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The carrier.
    pub carrier: AnyCarrier,
    /// What connections are handed over with to a host under the same kernel.
    pub offered: Option<Offered>,
    /// Whether only the kernel and the hypervisor stand between its ends.
    pub locality: Locality,
    /// Who connects, for the log.
    pub peer: String,
}

impl Accepted {
    fn without_descriptors(
        carrier: impl Duplex + 'static,
        locality: Locality,
        peer: impl Into<String>,
    ) -> Self {
        Self {
            carrier: Box::new(carrier),
            offered: None,
            locality,
            peer: peer.into(),
        }
    }
}

impl Listener {
    /// Binds `address`, replacing a unix socket that nobody answers on.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let kind = match address {
            ListenAddress::Unix(path) => Kind::Unix(unix::Listener::bind(path)?),
            ListenAddress::Vsock(port) => {
                Kind::Vsock(vsock::Listener::bind(*port).map_err(address.failed())?)
            }
            ListenAddress::Tcp(at) => {
                Kind::Tcp(tcp::Listener::bind(*at).map_err(address.failed())?)
            }
            ListenAddress::Serial(path) => Kind::Serial(serial::Line::new(path)),
        };
        Ok(Self(kind))
    }

    /// The next carrier. A peer that cannot be a host is turned away here already. What was begun
    /// is lost when the future is dropped: keep it until it is ready.
    ///
    /// # Errors
    /// What the system says; transient errors among them, so back off and go on.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match &self.0 {
            Kind::Unix(listener) => listener.accept().await,
            Kind::Vsock(listener) => listener.accept().await,
            Kind::Tcp(listener) => listener.accept().await,
            Kind::Serial(line) => line.accept().await,
        }
    }
}
