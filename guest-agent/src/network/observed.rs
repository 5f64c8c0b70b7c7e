//! The network as the kernel has it, reduced to what a plan looks at.

use serde::{Deserialize, Serialize};

use super::address::{Cidr, MacAddr};
use super::config::Route;

/// All links and the host name at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObservedNetwork {
    /// The kernel's host name.
    pub hostname: String,
    /// Links by rising index.
    pub links: Vec<ObservedLink>,
}

impl ObservedNetwork {
    /// The link with the kernel's `index`.
    pub fn link(&self, index: u32) -> Option<&ObservedLink> {
        self.links.iter().find(|link| link.index == index)
    }
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObservedLink {
    /// The kernel's index; stays when the name changes.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Current hardware address, none where it is not an Ethernet one.
    pub mac: Option<MacAddr>,
    /// Hardware address burnt in, none where the device has none.
    pub permanent_mac: Option<MacAddr>,
    /// Kernel driver, or the kind of a virtual link.
    pub driver: Option<String>,
    /// Whether it is the loopback; a plan never touches it.
    pub loopback: bool,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the other end of the wire is there.
    pub carrier: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Addresses, sorted.
    pub addresses: Vec<ObservedAddress>,
    /// Unicast routes of the main table through it that have one next hop, sorted.
    pub routes: Vec<KernelRoute>,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObservedAddress {
    /// The address.
    pub address: Cidr,
    /// Whether it is of global scope, neither link-local nor the host's own.
    pub global: bool,
    /// Whether it stays until somebody removes it; not so what DHCP and router advertisements give.
    pub lasting: bool,
    /// Whether it is one end of a point-to-point pair.
    pub peer: bool,
    /// Whether it can be used.
    pub readiness: Readiness,
}

/// Whether an address can be used; IPv6 addresses are checked for duplicates first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// The kernel is looking for duplicates.
    Tentative,
    /// Somebody else on the link has it.
    Duplicate,
}

/// A route of a link and who made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelRoute {
    /// The route.
    pub route: Route,
    /// Who made it.
    pub origin: Origin,
    /// Preferred source address.
    pub source: Option<std::net::IpAddr>,
}

impl KernelRoute {
    /// A route as this program makes them.
    pub const fn asked(route: Route) -> Self {
        Self {
            route,
            origin: Origin::Static,
            source: None,
        }
    }

    /// Whether it is the same to the kernel: one destination and metric.
    pub fn same_key(&self, other: &Route) -> bool {
        self.route.to == other.to && self.route.metric == other.metric
    }
}

/// Who made a route (the kernel calls it the protocol).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Origin {
    /// The kernel, for an address.
    Kernel,
    /// A router advertisement.
    RouterAdvertisement,
    /// Somebody who said nothing: `ip route`, most scripts, flannel.
    Boot,
    /// An administrator or this program.
    Static,
    /// A DHCP client.
    Dhcp,
    /// A routing daemon, by the kernel's number.
    Other(u8),
}

impl Origin {
    /// Whether the route comes and goes without anybody's request.
    pub const fn is_automatic(self) -> bool {
        matches!(self, Self::Kernel | Self::RouterAdvertisement)
    }

    /// Whether the route is plain host configuration, which a full configuration supersedes.
    pub const fn is_configuration(self) -> bool {
        matches!(self, Self::Boot | Self::Static | Self::Dhcp)
    }
}
