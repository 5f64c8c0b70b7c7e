//! Connections that the host asks for, and the policy that they meet.
//!
//! "Dial anything" is the most dangerous request there is: whoever can use it reaches what the
//! guest reaches. So the policy is applied to addresses, after a name is resolved, and the
//! connection is made to exactly the address that passed.

pub mod datagrams;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    message::Dial,
    relay::connect,
};
use tokio::{
    net::{TcpStream, UdpSocket, lookup_host},
    time::timeout,
};

/// Longest time for a connection to be made, in the guest's own networks.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Longest host name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// An address in it.
    pub address: IpAddr,
    /// Bits of it that all have in common.
    pub prefix: u8,
}

impl Block {
    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix.min(32)))
                    .unwrap_or(0);
                block.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix.min(128)))
                    .unwrap_or(0);
                block.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// What the host may reach through the guest: its loopback, its own addresses, and the ranges of
/// the cluster's pods and services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Addresses of the node itself.
    pub node_addresses: Vec<IpAddr>,
    /// Ranges of pods and services.
    pub cluster_ranges: Vec<Block>,
}

impl Policy {
    /// The ranges that k3s uses unless it is told otherwise.
    pub const K3S_RANGES: [Block; 2] = [
        Block {
            address: IpAddr::V4(Ipv4Addr::new(10, 42, 0, 0)),
            prefix: 16,
        },
        Block {
            address: IpAddr::V4(Ipv4Addr::new(10, 43, 0, 0)),
            prefix: 16,
        },
    ];

    /// Whether the host may reach `address`.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if address.is_loopback() {
            return true;
        }
        if is_link_local(address) || address.is_unspecified() || address.is_multicast() {
            return false;
        }
        self.node_addresses.contains(&address)
            || self
                .cluster_ranges
                .iter()
                .any(|range| range.contains(address))
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Makes the connection.
///
/// # Errors
/// A refusal to hand to the host: `Invalid`, `Unresolved`, `Denied`, `Unreachable`, `NoRoute`
/// or `Timeout`.
pub async fn dial(request: &Dial, policy: &Policy) -> Result<(TcpStream, SocketAddr), Refusal> {
    first_of(request, policy, |address| async move {
        match timeout(CONNECT_DEADLINE, connect(address)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Failed::with(address, &error)),
            Err(_) => {
                let seconds = CONNECT_DEADLINE.as_secs();
                let text = format!("{address} did not answer within {seconds} s");
                Err(Failed {
                    refusal: Refusal::new(RefusalCode::Timeout, text),
                    is_final: false,
                })
            }
        }
    })
    .await
}

/// Makes a UDP socket that is connected to the target, which hears nothing of it. Of several
/// addresses it is the first that a route leads to.
///
/// # Errors
/// A refusal to hand to the host: `Invalid`, `Unresolved`, `Denied` or `NoRoute`.
pub async fn dial_udp(request: &Dial, policy: &Policy) -> Result<(UdpSocket, SocketAddr), Refusal> {
    first_of(request, policy, |address| async move {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let connected = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        let connected: io::Result<_> = connected.await;
        connected.map_err(|error| Failed::with(address, &error))
    })
    .await
}

/// An address that was not connected to.
struct Failed {
    refusal: Refusal,
    /// Whether the target has said so, so that another address would be another connection.
    is_final: bool,
}

impl Failed {
    fn with(address: SocketAddr, error: &io::Error) -> Self {
        Self {
            refusal: unreachable(address, error),
            is_final: error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// The first address of the target that the policy permits and that can be connected to.
async fn first_of<C, F>(
    request: &Dial,
    policy: &Policy,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(C, SocketAddr), Refusal>
where
    F: Future<Output = Result<C, Failed>>,
{
    let addresses = resolve(request).await?;
    let permitted: Vec<_> = addresses
        .iter()
        .copied()
        .filter(|address| policy.permits(address.ip()))
        .collect();
    if permitted.is_empty() {
        let text = format!(
            "{} is neither this node nor one of its pods or services",
            addresses
                .first()
                .map_or_else(|| request.host.clone(), ToString::to_string)
        );
        return Err(Refusal::new(RefusalCode::Denied, text));
    }
    let mut last = Refusal::new(RefusalCode::Unreachable, "no address to try");
    for address in permitted {
        match connect(address).await {
            Ok(connection) => return Ok((connection, address)),
            Err(failed) if failed.is_final => return Err(failed.refusal),
            Err(failed) => last = failed.refusal,
        }
    }
    Err(last)
}

fn unreachable(address: SocketAddr, error: &io::Error) -> Refusal {
    let code = match error.kind() {
        io::ErrorKind::TimedOut => RefusalCode::Timeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => RefusalCode::NoRoute,
        _ => RefusalCode::Unreachable,
    };
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset at once".to_owned(),
        _ => error.to_string(),
    };
    Refusal::new(code, format!("{address}: {why}"))
}

async fn resolve(request: &Dial) -> Result<Vec<SocketAddr>, Refusal> {
    let host = request.host.as_str();
    if request.port == 0 || host.is_empty() || host.len() > MAX_NAME {
        return Err(Refusal::new(
            RefusalCode::Invalid,
            "a target needs an address and a port",
        ));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, request.port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        let both = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        return Ok(both
            .map(|address| SocketAddr::new(address, request.port))
            .to_vec());
    }
    if !host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    {
        return Err(Refusal::new(
            RefusalCode::Invalid,
            "a target is an IP address or a host name",
        ));
    }
    let unresolved = |why: String| Refusal::new(RefusalCode::Unresolved, format!("{host}: {why}"));
    match timeout(CONNECT_DEADLINE, lookup_host((host, request.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(unresolved(error.to_string())),
        Err(_) => Err(unresolved("the resolver did not answer".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use lkc_protocol::message::DialNetwork;

    use super::*;

    fn policy() -> Policy {
        Policy {
            node_addresses: vec!["192.100.0.10".parse().unwrap(), "fd00::10".parse().unwrap()],
            cluster_ranges: Policy::K3S_RANGES.to_vec(),
        }
    }

    #[test]
    fn the_policy_lets_in_the_node_its_pods_and_services_and_nothing_else() {
        let table = [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("192.100.0.10", true),
            ("fd00::10", true),
            ("10.42.7.9", true),
            ("10.43.0.1", true),
            ("::ffff:10.43.0.1", true),
            ("192.100.0.1", false),
            ("192.100.0.11", false),
            ("10.44.0.1", false),
            ("10.41.255.255", false),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("8.8.8.8", false),
        ];
        for (address, permitted) in table {
            assert_eq!(
                policy().permits(address.parse().unwrap()),
                permitted,
                "{address}"
            );
        }
    }

    #[test]
    fn a_block_of_any_prefix_has_an_edge() {
        for prefix in 0..=32 {
            let block = Block {
                address: "10.43.0.0".parse().unwrap(),
                prefix,
            };
            assert!(block.contains("10.43.0.0".parse().unwrap()));
            assert_eq!(block.contains("255.0.0.1".parse().unwrap()), prefix == 0);
            assert!(!block.contains("::1".parse().unwrap()));
        }
    }

    async fn code_of(host: &str, port: u16) -> RefusalCode {
        let request = Dial {
            network: DialNetwork::Tcp,
            host: host.to_owned(),
            port,
        };
        dial(&request, &policy()).await.unwrap_err().code
    }

    #[tokio::test]
    async fn refusals_say_why() {
        assert_eq!(code_of("169.254.169.254", 80).await, RefusalCode::Denied);
        assert_eq!(code_of("", 80).await, RefusalCode::Invalid);
        assert_eq!(code_of("127.0.0.1", 0).await, RefusalCode::Invalid);
        assert_eq!(
            code_of("/run/dbus/system_bus_socket", 1).await,
            RefusalCode::Invalid
        );
        assert_eq!(code_of("vsock:2", 1).await, RefusalCode::Invalid);
        assert_eq!(code_of(&"a".repeat(300), 1).await, RefusalCode::Invalid);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(code_of("127.0.0.1", port).await, RefusalCode::Unreachable);
    }

    #[tokio::test]
    async fn localhost_is_both_loopbacks() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let request = Dial {
            network: DialNetwork::Tcp,
            host: "localhost".to_owned(),
            port,
        };
        let (_connection, address) = dial(&request, &policy()).await.unwrap();
        assert_eq!(address, listener.local_addr().unwrap());
    }
}
