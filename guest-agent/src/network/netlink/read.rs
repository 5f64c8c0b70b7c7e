//! From netlink messages to what a plan looks at.

use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};

use super::super::address::{Cidr, Family, MacAddr};
use super::super::config::Route;
use super::super::observed::{KernelRoute, ObservedAddress, ObservedLink, Origin, Readiness};
use super::driver;

/// Puts three dumps together.
pub(super) fn links(
    links: &[LinkMessage],
    addresses: &[AddressMessage],
    routes: &[RouteMessage],
) -> Vec<ObservedLink> {
    let mut observed: Vec<ObservedLink> = links.iter().filter_map(link).collect();
    observed.sort_by_key(|link| link.index);
    for message in addresses {
        if let Ok(at) = observed.binary_search_by_key(&message.header.index, |link| link.index) {
            observed[at].addresses.extend(address(message));
        }
    }
    for (index, route) in routes.iter().filter_map(route) {
        if let Ok(at) = observed.binary_search_by_key(&index, |link| link.index) {
            observed[at].routes.push(route);
        }
    }
    for link in &mut observed {
        link.addresses.sort();
        link.routes.sort();
    }
    observed
}

fn link(message: &LinkMessage) -> Option<ObservedLink> {
    let flags = message.header.flags;
    let mut link = ObservedLink {
        index: message.header.index,
        loopback: flags.contains(LinkFlags::Loopback),
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..ObservedLink::default()
    };
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) if ethernet => link.mac = MacAddr::from_bytes(bytes),
            LinkAttribute::PermAddress(bytes) if ethernet => {
                link.permanent_mac = MacAddr::from_bytes(bytes);
            }
            LinkAttribute::LinkInfo(infos) => link.driver = kind(infos),
            _ => {}
        }
    }
    if link.name.is_empty() {
        return None;
    }
    if link.driver.is_none() && !link.loopback {
        link.driver = driver::of(&link.name, link.index);
    }
    Some(link)
}

fn kind(infos: &[LinkInfo]) -> Option<String> {
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    })
}

fn address(message: &AddressMessage) -> Option<ObservedAddress> {
    let mut own = None;
    let mut other = None;
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => own = Some(*ip),
            AddressAttribute::Address(ip) => other = Some(*ip),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let readiness = if flags.contains(AddressFlags::Dadfailed) {
        Readiness::Duplicate
    } else if flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic) {
        Readiness::Tentative
    } else {
        Readiness::Ready
    };
    Some(ObservedAddress {
        address: Cidr::new(own.or(other)?, message.header.prefix_len)?,
        global: message.header.scope == AddressScope::Universe,
        lasting: flags.contains(AddressFlags::Permanent),
        peer: own.is_some() && other.is_some() && own != other,
        readiness,
    })
}

/// A plain route of the main table and the index of its link. Others (several next hops, tunnels,
/// type of service, next hops of another family) are nobody's configuration here.
fn route(message: &RouteMessage) -> Option<(u32, KernelRoute)> {
    let header = &message.header;
    let family = match header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    if header.kind != RouteType::Unicast
        || header.table != RouteHeader::RT_TABLE_MAIN
        || header.tos != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let mut link = None;
    let mut to = family.everything().ip();
    let mut via = None;
    let mut source = None;
    let mut metric = 0;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => via = Some(ip(address)?),
            RouteAttribute::PrefSource(address) => source = Some(ip(address)?),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::MultiPath(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::Source(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::EncapType(_) => return None,
            _ => {}
        }
    }
    let route = Route {
        to: Cidr::new(to, header.destination_prefix_length)?,
        via,
        metric,
    };
    Some((
        link?,
        KernelRoute {
            route,
            origin: origin(header.protocol),
            source,
        },
    ))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn origin(protocol: RouteProtocol) -> Origin {
    match protocol {
        RouteProtocol::Kernel | RouteProtocol::IcmpRedirect => Origin::Kernel,
        RouteProtocol::Ra => Origin::RouterAdvertisement,
        RouteProtocol::Boot => Origin::Boot,
        RouteProtocol::Static => Origin::Static,
        RouteProtocol::Dhcp => Origin::Dhcp,
        other => Origin::Other(other.into()),
    }
}
