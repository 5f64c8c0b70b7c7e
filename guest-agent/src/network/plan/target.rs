//! How one link is to be in the end.

use std::net::IpAddr;

use super::super::address::Cidr;
use super::super::config::{Interface, Route};
use super::super::observed::{KernelRoute, ObservedLink, Origin};
use super::Means;
use super::action::LinkRef;

/// Least MTU in bytes with which the kernel keeps IPv6 on a link.
const LEAST_MTU_IPV6: u32 = 1280;

/// A link and how it is to be.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) link: &'a ObservedLink,
    pub(super) name: &'a str,
    pub(super) up: bool,
    pub(super) mtu: u32,
    /// To go.
    pub(super) remove_addresses: Vec<Cidr>,
    /// To be there: asked for, and present ones that must survive the other steps.
    pub(super) addresses: Vec<Cidr>,
    /// To go.
    pub(super) remove_routes: Vec<KernelRoute>,
    /// To be there, as with the addresses.
    pub(super) routes: Vec<KernelRoute>,
}

impl<'a> Target<'a> {
    /// What the configuration asks of `link`.
    pub(super) fn asked(interface: &'a Interface, link: &'a ObservedLink, means: Means) -> Self {
        // What networkd is told of a link is all that the link has.
        let owns =
            means == Means::Networkd || (interface.is_static() && !interface.addresses.is_empty());
        let asked = |address: &Cidr| interface.addresses.contains(address);
        let superfluous = |address: &Cidr| {
            let present = link
                .addresses
                .iter()
                .find(|present| present.address == *address);
            let removable = present.is_some_and(|present| {
                present.global && !present.peer && (present.lasting || address.ip().is_ipv4())
            });
            let leased = interface.dhcp4
                && address.ip().is_ipv4()
                && present.is_some_and(|present| !present.lasting);
            // The kernel tells addresses apart by the address alone, not by the prefix.
            let in_the_way = interface.addresses.iter().any(|a| a.ip() == address.ip());
            !asked(address) && removable && ((owns && !leased) || in_the_way)
        };
        let present = || link.addresses.iter().map(|present| present.address);
        let remove_addresses: Vec<Cidr> = present().filter(superfluous).collect();
        let stays = |address: &Cidr| !remove_addresses.contains(address) && !asked(address);
        let networks: Vec<Cidr> = present()
            .filter(stays)
            .chain(interface.addresses.iter().copied())
            .collect();
        let reachable = |via: Option<IpAddr>| {
            via.is_none_or(|via| {
                let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
                link_local || networks.iter().any(|network| network.contains(via))
            })
        };

        let mtu = interface.mtu.unwrap_or(link.mtu);
        let fits_mtu = |ip: IpAddr| ip.is_ipv4() || mtu >= LEAST_MTU_IPV6;
        let mut addresses = interface.addresses.clone();
        addresses.extend(
            link.addresses
                .iter()
                .filter(|one| one.lasting && one.global && !one.peer && fits_mtu(one.address.ip()))
                .map(|one| one.address)
                .filter(stays),
        );

        let as_present = |route: &Route| {
            let same =
                |present: &&KernelRoute| present.route == *route && !present.origin.is_automatic();
            link.routes
                .iter()
                .find(same)
                .copied()
                .unwrap_or(KernelRoute::asked(*route))
        };
        let mut routes: Vec<KernelRoute> = interface.routes.iter().map(as_present).collect();
        let mut remove_routes = Vec::new();
        for present in &link.routes {
            if interface.routes.iter().any(|route| present.same_key(route)) {
                continue;
            }
            let default = present.route.to.prefix() == 0;
            let reachable = reachable(present.route.via);
            let leased = present.origin == Origin::Dhcp
                && interface.dhcp_use_routes
                && !interface.is_static();
            if owns && !leased && present.origin.is_configuration() && (default || !reachable) {
                remove_routes.push(*present);
            } else if reachable && !present.origin.is_automatic() && fits_mtu(present.route.to.ip())
            {
                routes.push(*present);
            }
        }
        Self {
            link,
            name: interface
                .set_name
                .as_ref()
                .map_or(&link.name, |name| name.as_str()),
            up: true,
            mtu,
            remove_addresses,
            addresses,
            remove_routes,
            routes,
        }
    }

    /// The link by the name that it has before the renames.
    pub(super) fn before(&self) -> LinkRef {
        self.named(&self.link.name)
    }

    /// The link by the name that it has after the renames.
    pub(super) fn after(&self) -> LinkRef {
        self.named(self.name)
    }

    fn named(&self, name: &str) -> LinkRef {
        LinkRef {
            index: self.link.index,
            name: name.to_owned(),
        }
    }

    /// Whether the MTU keeps the kernel from giving the link an address that it is to have.
    pub(super) fn is_too_small(&self) -> bool {
        self.mtu < LEAST_MTU_IPV6 && self.addresses.iter().any(|address| address.ip().is_ipv6())
    }

    pub(super) fn is_renamed(&self) -> bool {
        self.link.name != self.name
    }

    /// Whether the link goes down on the way or in the end.
    pub(super) fn goes_down(&self) -> bool {
        self.link.up && (self.is_renamed() || !self.up)
    }

    /// Whether `route` of the link is still there in the end.
    pub(super) fn leaves(&self, route: &KernelRoute) -> bool {
        if self.remove_routes.contains(route) {
            return false;
        }
        let gone = self
            .remove_addresses
            .iter()
            .any(|gone| gone.network() == route.route.to);
        let kept = self
            .addresses
            .iter()
            .any(|kept| kept.network() == route.route.to);
        !route.origin.is_automatic() || !gone || kept
    }
}
