//! Network configuration for the guest, in the vocabulary of network-config v2.

use bincode::{Decode, Encode};

/// Asks the guest to bring its interfaces to this state; what already is so is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApplyNetwork {
    /// Host name to set, none to leave it.
    pub hostname: Option<String>,
    /// Interfaces to configure; others are not touched.
    pub interfaces: Vec<InterfaceConfig>,
}

/// One interface. Exactly one of the `match_*` fields or the id itself names it, MAC first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct InterfaceConfig {
    /// Key in the configuration; the interface's name when nothing else matches it.
    pub id: String,
    /// Match by hardware address (`match.macaddress`).
    pub match_mac: Option<String>,
    /// Match by kernel name, a glob (`match.name`).
    pub match_name: Option<String>,
    /// Match by kernel driver, a glob (`match.driver`).
    pub match_driver: Option<String>,
    /// New name (`set-name`).
    pub set_name: Option<String>,
    /// Whether DHCP for IPv4 is wanted.
    pub dhcp4: bool,
    /// Whether DHCP for IPv6 is wanted.
    pub dhcp6: bool,
    /// Whether the routes that DHCP offers are installed (`dhcp4-overrides.use-routes`).
    pub dhcp_use_routes: bool,
    /// Whether the DNS servers that DHCP offers are used (`dhcp4-overrides.use-dns`).
    pub dhcp_use_dns: bool,
    /// Addresses with prefix, `192.100.0.10/24`.
    pub addresses: Vec<String>,
    /// Routes through this interface.
    pub routes: Vec<RouteConfig>,
    /// DNS servers.
    pub nameservers: Vec<String>,
    /// DNS search domains.
    pub search: Vec<String>,
    /// MTU in bytes, none to leave it.
    pub mtu: Option<u32>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RouteConfig {
    /// Destination prefix, or `default`.
    pub to: String,
    /// Gateway; none for a route that is on the link.
    pub via: Option<String>,
    /// Metric.
    pub metric: Option<u32>,
}

/// The network is as asked; read back from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkApplied {
    /// Whether anything had to be changed.
    pub changed: bool,
    /// For people: `192.100.0.10/24 on eth0`.
    pub summary: String,
}
