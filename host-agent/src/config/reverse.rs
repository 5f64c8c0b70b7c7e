//! Reverse forwards, fully decided.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// A guest listener and the target on this host's side that it leads to. Only these lead from the
/// guest to the host: the guest says which of them a connection came to and can name nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReverseSpec {
    /// What messages and `status` call it: `registry`.
    pub name: String,
    /// Address of the guest to listen on: 127.0.0.1 unless the user names another.
    pub bind: IpAddr,
    /// Port in the guest.
    pub guest_port: u16,
    /// Where its connections come out.
    pub target: HostTarget,
}

impl ReverseSpec {
    /// Where the guest listens.
    #[must_use]
    pub const fn listens_on(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.guest_port)
    }
}

/// What the daemon connects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostTarget {
    /// A TCP port.
    Tcp {
        /// Address or name, as this host understands it.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for HostTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "[{host}]:{port}")
            }
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}
