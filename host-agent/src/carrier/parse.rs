//! Carriers as they are written: `vsock:52:5000`, `unix:/run/lkc/agent.sock`.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

use super::{Carrier, ssh::TargetError, words};

/// A text that names no carrier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CarrierParseError {
    /// It has no kind or one that is not known.
    #[error(
        "`{0}` is no carrier: write vsock:CID:PORT, hybrid:PATH:PORT, unix:PATH, tcp:HOST:PORT, ssh:[USER@]HOST[:PORT], exec:COMMAND or serial:PATH"
    )]
    Kind(String),
    /// The path is not absolute.
    #[error("`{0}` has no absolute path")]
    Path(String),
    /// The port is none.
    #[error("`{0}` does not end with a port: write {1}")]
    Port(String, &'static str),
    /// The context id is none of a guest.
    #[error("`{0}` has no context id of a guest: they begin at 3")]
    Cid(String),
    /// The host is missing or cannot be one.
    #[error("`{0}` names no host: write tcp:HOST:PORT, and an IPv6 address in brackets")]
    Host(String),
    /// The place behind `ssh:` is none.
    #[error(transparent)]
    Ssh(#[from] TargetError),
    /// The command cannot be taken apart.
    #[error("`{0}` is no command: {1}")]
    Command(String, &'static str),
}

/// The first context id that a guest can have: 0 is the hypervisor, 1 the kernel itself, 2 the host.
const FIRST_GUEST: u32 = 3;

impl FromStr for Carrier {
    type Err = CarrierParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || CarrierParseError::Kind(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        let path = |path: &str| {
            if path.starts_with('/') && !path.contains('\0') {
                Ok(PathBuf::from(path))
            } else {
                Err(CarrierParseError::Path(text.to_owned()))
            }
        };
        match kind {
            "vsock" => {
                let form = "vsock:CID:PORT";
                let (cid, port) = before_port(text, rest, form)?;
                let cid: u32 = number(cid)
                    .filter(|&cid| (FIRST_GUEST..u32::MAX).contains(&cid))
                    .ok_or_else(|| CarrierParseError::Cid(text.to_owned()))?;
                Ok(Self::Vsock { cid, port })
            }
            "hybrid" => {
                let (at, port) = before_port(text, rest, "hybrid:PATH:PORT")?;
                let path = path(at)?;
                Ok(Self::Hybrid { path, port })
            }
            "unix" => path(rest).map(Self::Unix),
            "serial" => path(rest).map(Self::Serial),
            "tcp" => {
                let form = "tcp:HOST:PORT";
                let (host, port) = before_port(text, rest, form)?;
                let port = u16::try_from(port)
                    .ok()
                    .filter(|&port| port != 0)
                    .ok_or_else(|| CarrierParseError::Port(text.to_owned(), form))?;
                let host = host_name(host)
                    .ok_or_else(|| CarrierParseError::Host(text.to_owned()))?
                    .to_owned();
                Ok(Self::Tcp { host, port })
            }
            "ssh" => Ok(Self::Ssh(rest.parse()?)),
            "exec" => words::split(rest)
                .map(Self::Exec)
                .map_err(|error| CarrierParseError::Command(text.to_owned(), error.as_str())),
            _ => Err(unknown()),
        }
    }
}

/// Splits `…:PORT`; AF_VSOCK has ports of 32 bits.
fn before_port<'a>(
    text: &str,
    rest: &'a str,
    form: &'static str,
) -> Result<(&'a str, u32), CarrierParseError> {
    rest.rsplit_once(':')
        .and_then(|(before, port)| Some((before, number(port)?)))
        .filter(|&(_, port)| port != u32::MAX)
        .ok_or_else(|| CarrierParseError::Port(text.to_owned(), form))
}

/// Digits only: the standard parser takes a sign.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A host as it is connected to, without the brackets of an IPv6 address. One that begins with a
/// dash could be taken for an option by a tool on the way.
fn host_name(host: &str) -> Option<&str> {
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']')?;
        return address
            .parse::<std::net::Ipv6Addr>()
            .is_ok()
            .then_some(address);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_name = !host.is_empty() && !host.starts_with('-') && host.bytes().all(legal);
    is_name.then_some(host)
}

impl TryFrom<String> for Carrier {
    type Error = CarrierParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Carrier> for String {
    fn from(carrier: Carrier) -> Self {
        carrier.to_string()
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vsock { cid, port } => write!(formatter, "vsock:{cid}:{port}"),
            Self::Hybrid { path, port } => {
                write!(formatter, "hybrid:{}:{port}", path.display())
            }
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "tcp:[{host}]:{port}")
            }
            Self::Tcp { host, port } => write!(formatter, "tcp:{host}:{port}"),
            Self::Exec(command) => write!(formatter, "exec:{}", words::join(command)),
            Self::Ssh(target) => write!(formatter, "ssh:{target}"),
            Self::Serial(path) => write!(formatter, "serial:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_survive_being_written_and_read() {
        for (text, carrier) in [
            (
                "vsock:52:5000",
                Carrier::Vsock {
                    cid: 52,
                    port: 5000,
                },
            ),
            (
                "vsock:3:4294967294",
                Carrier::Vsock {
                    cid: 3,
                    port: u32::MAX - 1,
                },
            ),
            (
                "hybrid:/run/vm:1.vsock:5000",
                Carrier::Hybrid {
                    path: "/run/vm:1.vsock".into(),
                    port: 5000,
                },
            ),
            (
                "unix:/run/lkc/agent.sock",
                Carrier::Unix("/run/lkc/agent.sock".into()),
            ),
            (
                "tcp:k3s.local:7000",
                Carrier::Tcp {
                    host: "k3s.local".into(),
                    port: 7000,
                },
            ),
            (
                "tcp:[fd00::1]:7000",
                Carrier::Tcp {
                    host: "fd00::1".into(),
                    port: 7000,
                },
            ),
            (
                "exec:docker exec -i k3s lkc-guest stdio",
                Carrier::Exec(
                    ["docker", "exec", "-i", "k3s", "lkc-guest", "stdio"]
                        .map(str::to_owned)
                        .to_vec(),
                ),
            ),
            (
                "exec:sh -c 'exec x'",
                Carrier::Exec(["sh", "-c", "exec x"].map(str::to_owned).to_vec()),
            ),
            (
                "serial:/run/lkc/serial.sock",
                Carrier::Serial("/run/lkc/serial.sock".into()),
            ),
        ] {
            let parsed: Carrier = text.parse().unwrap();
            assert_eq!(parsed, carrier);
            assert_eq!(parsed.to_string(), text);
            let json = serde_json::to_string(&carrier).unwrap();
            assert_eq!(serde_json::from_str::<Carrier>(&json).unwrap(), carrier);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let texts = [
            "",
            "/run/agent.sock",
            "unix",
            "Unix:/a",
            "unix:agent.sock",
            "serial:ttyS0",
            "vsock:52",
            "vsock:2:5000",
            "vsock:4294967295:5000",
            "vsock:+5:1",
            "vsock:5:4294967295",
            "hybrid:/run/vm.sock",
            "hybrid:vm.sock:5000",
            "hybrid:/run/vm.sock:-1",
            "tcp:host",
            "tcp::7000",
            "tcp:host:0",
            "tcp:host:65536",
            "tcp:::1:7000",
            "tcp:[::1:7000",
            "tcp:-oProxyCommand=x:7000",
            "tcp:a b:7000",
            "exec:",
            "exec:'x",
        ];
        let report: Vec<_> = texts
            .into_iter()
            .map(|text| text.parse::<Carrier>().unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(report.join("\n"));
    }
}
