//! Where to listen, as it is written: `vsock:5000`.

use std::{fmt, io, net::SocketAddr, path::PathBuf, str::FromStr};

use super::ListenError;

/// Where the agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A unix socket of mode 0600.
    Unix(PathBuf),
    /// A port of AF_VSOCK, for the host alone.
    Vsock(u32),
    /// An address of this guest.
    Tcp(SocketAddr),
    /// A virtio-serial port or another serial line.
    Serial(PathBuf),
}

impl ListenAddress {
    /// For `map_err`: the system's answer to listening here.
    pub(super) fn failed(&self) -> impl FnOnce(io::Error) -> ListenError {
        let address = self.clone();
        move |source| ListenError::Io { address, source }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_port = |&port: &u32| port != 0 && port != u32::MAX;
        let address = match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Some(Self::Unix(path.into())),
            Some(("serial", path)) if path.starts_with('/') => Some(Self::Serial(path.into())),
            Some(("vsock", port)) => port.parse().ok().filter(is_port).map(Self::Vsock),
            Some(("tcp", address)) => address.parse().ok().map(Self::Tcp),
            _ => None,
        };
        address.ok_or_else(|| {
            "listen on unix:/absolute/path, vsock:PORT, tcp:ADDRESS:PORT or serial:/absolute/path"
                .to_owned()
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Vsock(port) => write!(formatter, "vsock:{port}"),
            Self::Tcp(address) => write!(formatter, "tcp:{address}"),
            Self::Serial(path) => write!(formatter, "serial:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_being_written_and_read() {
        for text in [
            "unix:/run/a.sock",
            "vsock:5000",
            "tcp:0.0.0.0:7000",
            "tcp:[::]:7000",
            "serial:/dev/virtio-ports/lkc.agent.0",
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in [
            "unix:a.sock",
            "",
            "/run/a.sock",
            "vsock:0",
            "vsock:3:5000",
            "vsock:4294967295",
            "tcp:7000",
            "tcp:name:7000",
            "serial:ttyS0",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }
}
