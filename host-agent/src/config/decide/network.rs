//! The node's interface: address, gateway, hardware address, name, MTU, DNS servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::parsed;
use crate::config::{
    cluster::{Driver, MacAddress},
    draft::Draft,
    place::{Place, Placed},
    problem::Problem,
};

/// DNS servers of one node; glibc reads three.
const MOST_NAMESERVERS: usize = 8;
/// Bytes of an interface's name, as the kernel limits it.
const LONGEST_INTERFACE_NAME: usize = 15;

pub(super) struct Network {
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    pub(super) gateway: Option<IpAddr>,
    pub(super) mac: MacAddress,
    pub(super) interface: String,
    pub(super) mtu: Option<u32>,
    pub(super) nameservers: Vec<IpAddr>,
}

pub(super) fn decide(draft: &Draft, index: u8, driver: Driver) -> Result<Network, Problem> {
    let subnet = match &draft.address {
        None => Subnet {
            address: Ipv4Addr::new(192, 100, 0, 10 + index).into(),
            prefix: 24,
        },
        Some(said) => subnet(said, draft)?,
    };
    let derived = MacAddress([0x52, 0x54, 0x00, 0xc8, 0x32, subnet.last_octet()]);
    let mut gateway = draft
        .gateway
        .as_ref()
        .map(|said| gateway(said, subnet))
        .transpose()?;
    if driver == Driver::Qemu && gateway.is_none() {
        // QEMU brings a router of its own, wherever it is wanted.
        gateway = Some(subnet.first_host());
    }
    Ok(Network {
        gateway,
        mac: parsed(draft.mac.as_ref(), str::parse::<MacAddress>)?.unwrap_or(derived),
        interface: parsed(draft.interface.as_ref(), interface)?
            .unwrap_or_else(|| "eth0".to_owned()),
        mtu: draft
            .mtu
            .as_ref()
            .map(|said| mtu(said, subnet))
            .transpose()?,
        nameservers: nameservers(&draft.nameservers)?,
        address: subnet.address,
        prefix: subnet.prefix,
    })
}

/// An address with the prefix of the network that it is in.
#[derive(Debug, Clone, Copy)]
struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The bits of an address, from the top of 128.
    fn bits(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
            IpAddr::V6(address) => address.to_bits(),
        }
    }

    fn host_mask(self) -> u128 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        let whole = u128::MAX << (128 - width);
        whole & u128::MAX.checked_shr(self.prefix.into()).unwrap_or(0)
    }

    fn contains(self, other: IpAddr) -> bool {
        let same_family = self.address.is_ipv4() == other.is_ipv4();
        same_family && (Self::bits(self.address) ^ Self::bits(other)) & !self.host_mask() == 0
    }

    /// Whether `other` is the network itself, as no host can be.
    fn is_network(self, other: IpAddr) -> bool {
        Self::bits(other) & self.host_mask() == 0
    }

    fn is_broadcast(self, other: IpAddr) -> bool {
        other.is_ipv4() && Self::bits(other) & self.host_mask() == self.host_mask()
    }

    /// The first address that the node has not.
    fn first_host(self) -> IpAddr {
        let network = Self::bits(self.address) & !self.host_mask();
        let address = |number: u32| -> IpAddr {
            match self.address {
                IpAddr::V4(_) => {
                    let base = u32::try_from(network >> 96).unwrap_or_default();
                    Ipv4Addr::from(base + number).into()
                }
                IpAddr::V6(_) => Ipv6Addr::from(network + u128::from(number)).into(),
            }
        };
        let first = address(1);
        if first == self.address {
            address(2)
        } else {
            first
        }
    }

    fn last_octet(self) -> u8 {
        match self.address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        }
    }
}

fn subnet(said: &Placed<String>, draft: &Draft) -> Result<Subnet, Problem> {
    let wrong = |message: String| Problem::at(&said.place, message);
    let text = said.value.as_str();
    let Some((address, prefix)) = text.split_once('/') else {
        let problem = wrong(format!("`{text}` lacks the prefix length of its network"));
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => problem.help(format!("write {address}/24")),
            Ok(IpAddr::V6(address)) => problem.help(format!("write {address}/64")),
            Err(_) => problem.help("an address looks like 192.100.0.10/24"),
        });
    };
    let address: IpAddr = address.parse().map_err(|_| {
        wrong(format!("`{address}` is not an IP address"))
            .help("an address looks like 192.100.0.10/24")
    })?;
    host_address(address).map_err(|what| wrong(format!("{address} is {what}")))?;
    let longest = if address.is_ipv4() { 30 } else { 126 };
    let prefix = prefix
        .parse::<u8>()
        .ok()
        .filter(|prefix| (8..=longest).contains(prefix));
    let prefix = prefix.ok_or_else(|| {
        wrong(format!(
            "the prefix length of {address} must be from 8 to {longest}"
        ))
    })?;
    let subnet = Subnet { address, prefix };
    if subnet.is_network(address) {
        return Err(wrong(format!(
            "{text} is the address of the network, not of a node"
        )));
    }
    if subnet.is_broadcast(address) {
        return Err(wrong(format!(
            "{text} is the broadcast address of its network"
        )));
    }
    outside_of_k3s(subnet, said, draft)?;
    Ok(subnet)
}

/// Says what an address is that no host can have.
fn host_address(address: IpAddr) -> Result<(), &'static str> {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    let first_octet =
        matches!(address, IpAddr::V4(address) if matches!(address.octets()[0], 0 | 240..));
    match () {
        () if address.is_unspecified() => Err("the unspecified address"),
        () if address.is_loopback() => Err("a loopback address"),
        () if address.is_multicast() => Err("a multicast address"),
        () if link_local => Err("a link-local address"),
        () if mapped => Err("an IPv4 address in IPv6 form: write it as IPv4"),
        () if first_octet => Err("a reserved address"),
        () => Ok(()),
    }
}

/// k3s gives pods and services addresses of their own; a node among them is not reached.
fn outside_of_k3s(subnet: Subnet, said: &Placed<String>, draft: &Draft) -> Result<(), Problem> {
    for (what, network, setting) in [
        ("pods", Ipv4Addr::new(10, 42, 0, 0), "cluster-cidr"),
        ("services", Ipv4Addr::new(10, 43, 0, 0), "service-cidr"),
    ] {
        let moved = draft.k3s_settings.iter().any(|said| {
            said.value
                .split_once('=')
                .is_some_and(|(key, _)| key == setting)
        });
        let k3s = Subnet {
            address: network.into(),
            prefix: 16,
        };
        if !moved && (k3s.contains(subnet.address) || subnet.contains(k3s.address)) {
            let message = format!(
                "the network of {} overlaps {network}/16, which k3s uses for {what}",
                said.value
            );
            return Err(Problem::at(&said.place, message).help(format!(
                "take another network, or set {setting} in [k3s.settings]"
            )));
        }
    }
    Ok(())
}

fn gateway(said: &Placed<String>, subnet: Subnet) -> Result<IpAddr, Problem> {
    let wrong = |message: String| Problem::at(&said.place, message);
    let Ok(gateway) = said.value.parse::<IpAddr>() else {
        return Err(wrong(format!("`{}` is not an IP address", said.value))
            .help("a gateway has no prefix: 192.100.0.1"));
    };
    let Subnet { address, prefix } = subnet;
    if !subnet.contains(gateway) {
        return Err(wrong(format!(
            "the gateway {gateway} is outside of {address}/{prefix}"
        )));
    }
    if gateway == address {
        return Err(wrong(format!("the gateway {gateway} is the node itself")));
    }
    if subnet.is_network(gateway) || subnet.is_broadcast(gateway) {
        return Err(wrong(format!(
            "the gateway {gateway} is the network or broadcast address of {address}/{prefix}"
        )));
    }
    Ok(gateway)
}

fn interface(name: &str) -> Result<String, &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let named = name
        .bytes()
        .next()
        .is_some_and(|first| first.is_ascii_alphanumeric());
    if !named || name.len() > LONGEST_INTERFACE_NAME || !name.bytes().all(legal) {
        return Err(
            "an interface name has 1 to 15 of a-z, A-Z, 0-9, -, _ and ., and begins with a letter or digit",
        );
    }
    match name {
        "lo" => Err("the interface lo is the loopback"),
        "all" | "default" => Err("the kernel has all and default for settings of every interface"),
        _ => Ok(name.to_owned()),
    }
}

fn mtu(said: &Placed<i64>, subnet: Subnet) -> Result<u32, Problem> {
    let least = if subnet.address.is_ipv4() { 68 } else { 1280 };
    u32::try_from(said.value)
        .ok()
        .filter(|mtu| (least..=65535).contains(mtu))
        .ok_or_else(|| {
            Problem::at(
                &said.place,
                format!("an MTU is from {least} to 65535 bytes, not {}", said.value),
            )
        })
}

fn nameservers(said: &[Placed<String>]) -> Result<Vec<IpAddr>, Problem> {
    if let Some(first_over) = said.get(MOST_NAMESERVERS) {
        let message = format!("more than {MOST_NAMESERVERS} nameservers");
        return Err(Problem::at(&first_over.place, message));
    }
    said.iter().map(nameserver).collect()
}

fn nameserver(said: &Placed<String>) -> Result<IpAddr, Problem> {
    let place: &Place = &said.place;
    let Ok(address) = said.value.parse::<IpAddr>() else {
        let message = format!("`{}` is not an IP address", said.value);
        return Err(
            Problem::at(place, message).help("a nameserver is named by its address: 1.1.1.1")
        );
    };
    let unusable = address.is_unspecified()
        || address.is_multicast()
        || address == IpAddr::V4(Ipv4Addr::BROADCAST)
        || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    if unusable {
        return Err(Problem::at(
            place,
            format!("{address} cannot be a nameserver"),
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_know_what_is_in_them() {
        let subnet = Subnet {
            address: "192.100.0.10".parse().unwrap(),
            prefix: 24,
        };
        for (address, contains) in [
            ("192.100.0.255", true),
            ("192.100.1.0", false),
            ("::ffff:192.100.0.1", false),
        ] {
            assert_eq!(
                subnet.contains(address.parse().unwrap()),
                contains,
                "{address}"
            );
        }
        assert!(subnet.is_network("192.100.0.0".parse().unwrap()));
        assert!(subnet.is_broadcast("192.100.0.255".parse().unwrap()));
        assert!(!subnet.is_broadcast("192.100.0.254".parse().unwrap()));
        let first: IpAddr = "192.100.0.1".parse().unwrap();
        assert_eq!(subnet.first_host(), first);
        let taken = Subnet {
            address: first,
            prefix: 24,
        };
        assert_eq!(taken.first_host().to_string(), "192.100.0.2");
        let wide = Subnet {
            address: "fd00::1".parse().unwrap(),
            prefix: 64,
        };
        assert!(wide.contains("fd00::ffff".parse().unwrap()));
        assert_eq!(wide.first_host().to_string(), "fd00::2");
        assert!(!wide.contains("fd00:0:0:1::1".parse().unwrap()));
        assert!(!wide.is_broadcast("fd00::ffff:ffff:ffff:ffff".parse().unwrap()));
    }
}
