//! Binding the listeners of a forward: all of its addresses or none.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use crate::config::{ForwardProtocol, ForwardSpec};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// One of the places that a forward listens on.
#[derive(Debug)]
pub(in super::super) enum Listener {
    /// Of connections.
    Tcp(TcpListener),
    /// Of datagrams.
    Udp(UdpSocket),
}

impl Listener {
    /// Where it listens.
    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Udp(socket) => socket.local_addr(),
        }
    }
}

/// Why a forward cannot listen.
#[derive(Debug, Error)]
#[error("cannot listen on {address}")]
pub(in super::super) struct BindError {
    /// Where.
    pub(in super::super) address: SocketAddr,
    /// What the system said.
    pub(in super::super) source: io::Error,
}

impl BindError {
    /// Whether somebody else has the port.
    pub(in super::super) fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Binds every address of `spec`. A host without IPv6 does without `::1` as long as another
/// address is left.
///
/// # Errors
/// The first address that cannot be bound; nothing listens then.
pub(in super::super) fn bind(spec: &ForwardSpec) -> Result<Vec<Listener>, BindError> {
    let mut listeners = Vec::with_capacity(spec.bind.len());
    let mut without = None;
    // A socket on `::` takes the connections of `0.0.0.0` as well, and its port.
    let all = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let covered = |ip: IpAddr| ip.is_ipv4() && ip.is_unspecified() && spec.bind.contains(&all);
    for &ip in spec.bind.iter().filter(|&&ip| !covered(ip)) {
        let address = SocketAddr::new(ip, spec.host_port);
        let bound = match spec.protocol {
            ForwardProtocol::Tcp | ForwardProtocol::Socks => bind_tcp(address).map(Listener::Tcp),
            ForwardProtocol::Udp => bind_udp(address).map(Listener::Udp),
        };
        match bound {
            Ok(listener) => listeners.push(listener),
            Err(source) if ip.is_loopback() && has_no_ipv6(ip, &source) => {
                without = Some(BindError { address, source });
            }
            Err(source) => return Err(BindError { address, source }),
        }
    }
    match without {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4()?,
        IpAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // So that connections of before that are still closing do not hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Without the option to share the port, with which datagrams would go to either.
fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

fn has_no_ipv6(ip: IpAddr, error: &io::Error) -> bool {
    let unsupported = error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32);
    ip.is_ipv6() && (unsupported || error.kind() == io::ErrorKind::AddrNotAvailable)
}
