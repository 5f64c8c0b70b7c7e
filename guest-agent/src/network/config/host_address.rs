//! Which addresses an interface can be given.

use std::net::{IpAddr, Ipv4Addr};

use super::super::address::Cidr;
use super::problem::{Problem, Unusable};

/// Ranges of k3s for pods and services: an address or a route in them cuts the cluster off.
pub(super) const CLUSTER_RANGES: [(&str, Ipv4Addr, u8); 2] = [
    ("pods", Ipv4Addr::new(10, 42, 0, 0), 16),
    ("services", Ipv4Addr::new(10, 43, 0, 0), 16),
];

/// Parses the addresses of one interface; none may be there twice.
pub(super) fn parse_all(texts: &[String]) -> Result<Vec<Cidr>, Problem> {
    let mut addresses: Vec<Cidr> = Vec::with_capacity(texts.len());
    for text in texts {
        let address: Cidr = text
            .parse()
            .map_err(|source| Problem::address(text, Unusable::Malformed(source)))?;
        check(address).map_err(|why| Problem::address(text, why))?;
        if addresses.iter().any(|earlier| earlier.ip() == address.ip()) {
            return Err(Problem::address(text, Unusable::Twice));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// The cluster range that has an address in common with `network`.
pub(super) fn cluster_range(overlaps: impl Fn(Cidr) -> bool) -> Option<(&'static str, Cidr)> {
    CLUSTER_RANGES
        .into_iter()
        .filter_map(|(what, ip, prefix)| Some((what, Cidr::new(IpAddr::V4(ip), prefix)?)))
        .find(|&(_, range)| overlaps(range))
}

/// Why no host can have `ip`, whatever its network.
pub(super) fn unusable(ip: IpAddr) -> Option<Unusable> {
    if ip.is_unspecified() {
        return Some(Unusable::Unspecified);
    }
    if ip.is_loopback() {
        return Some(Unusable::Loopback);
    }
    if ip.is_multicast() {
        return Some(Unusable::Multicast);
    }
    match ip {
        IpAddr::V4(v4) if v4.is_broadcast() => Some(Unusable::Broadcast),
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => Some(Unusable::Reserved),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some(Unusable::Mapped),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether `ip` names the network or everybody in it rather than a host. A network of one or two
/// addresses has neither.
pub(super) fn network_or_broadcast(network: Cidr, ip: IpAddr) -> Option<Unusable> {
    if network.prefix() + 1 >= network.family().bits() {
        return None;
    }
    if ip == network.network().ip() {
        return Some(Unusable::Network);
    }
    (ip.is_ipv4() && ip == network.last()).then_some(Unusable::Broadcast)
}

fn check(address: Cidr) -> Result<(), Unusable> {
    let ip = address.ip();
    if let Some(why) = unusable(ip) {
        return Err(why);
    }
    if address.prefix() == 0 {
        return Err(Unusable::Everything);
    }
    if is_link_local(ip) {
        return Err(Unusable::LinkLocal);
    }
    if let Some(why) = network_or_broadcast(address, ip) {
        return Err(why);
    }
    if let Some((what, range)) = cluster_range(|range| range.overlaps(address)) {
        return Err(Unusable::Cluster { what, range });
    }
    Ok(())
}
