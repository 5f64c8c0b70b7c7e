//! Binding the listeners of a forward: all of its addresses or none.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::unix_socket::SocketListener;
use crate::config::{ForwardProtocol, ForwardSpec};

/// Connections that the kernel keeps until they are accepted.
pub(super) const BACKLOG: u32 = 1024;

/// One of the places that a forward listens on.
#[derive(Debug)]
pub(in super::super) enum Listener {
    /// Of connections.
    Tcp(TcpListener),
    /// Of datagrams.
    Udp(UdpSocket),
    /// Of connections, on a unix socket.
    Unix(SocketListener),
}

/// Somewhere to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Place {
    /// A port.
    Address(SocketAddr),
    /// A unix socket.
    Socket(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Socket(path) => write!(formatter, "{}{}", ForwardSpec::UNIX, path.display()),
        }
    }
}

impl Listener {
    /// Where it listens.
    pub(super) fn place(&self) -> io::Result<Place> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Place::Address),
            Self::Udp(socket) => socket.local_addr().map(Place::Address),
            Self::Unix(listener) => Ok(Place::Socket(listener.path().to_owned())),
        }
    }
}

/// Why a forward cannot listen.
#[derive(Debug, Error)]
#[error("cannot listen on {place}")]
pub(in super::super) struct BindError {
    /// Where.
    pub(in super::super) place: Place,
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
    if let Some(path) = &spec.socket {
        return match SocketListener::bind(path) {
            Ok(listener) => Ok(vec![Listener::Unix(listener)]),
            Err(source) => {
                let place = Place::Socket(path.clone());
                Err(BindError { place, source })
            }
        };
    }
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
                without = Some(cannot_bind(address, source));
            }
            Err(source) => return Err(cannot_bind(address, source)),
        }
    }
    match without {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
    }
}

const fn cannot_bind(address: SocketAddr, source: io::Error) -> BindError {
    let place = Place::Address(address);
    BindError { place, source }
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
