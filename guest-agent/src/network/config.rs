//! The asked network as typed values. What [`NetworkConfig::parse`] lets through has been checked
//! as far as it can be without knowing which links exist.

use std::fmt;

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig};
use serde::{Deserialize, Serialize};

use super::address::{Cidr, MacAddr};
use super::name::{Glob, HostName, InterfaceName, check_domain};

mod host_address;
mod problem;
mod routes;

pub use problem::{ConfigError, Problem};

/// Most interfaces in a configuration.
pub const MOST_INTERFACES: usize = 32;
/// Most addresses of an interface.
pub const MOST_ADDRESSES: usize = 64;
/// Most routes of an interface.
pub const MOST_ROUTES: usize = 256;
/// Most DNS servers, and most search domains, of an interface.
pub const MOST_NAMESERVERS: usize = 16;

/// Least MTU in bytes of a link that carries IPv4.
const LEAST_MTU: u32 = 68;
/// Least MTU in bytes of a link that carries IPv6.
const LEAST_MTU_IPV6: u32 = 1280;
/// Greatest MTU in bytes.
const GREATEST_MTU: u32 = 65535;

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Host name to set.
    pub hostname: Option<HostName>,
    /// Interfaces to configure.
    pub interfaces: Vec<Interface>,
}

/// A checked configuration of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Key in the configuration, for messages.
    pub id: InterfaceName,
    /// Which link it is.
    pub matcher: Matcher,
    /// New name.
    pub set_name: Option<InterfaceName>,
    /// Whether DHCP for IPv4 is wanted.
    pub dhcp4: bool,
    /// Whether DHCP for IPv6 is wanted.
    pub dhcp6: bool,
    /// Whether routes that DHCP and router advertisements offer are used.
    pub dhcp_use_routes: bool,
    /// Whether DNS servers that they offer are used.
    pub dhcp_use_dns: bool,
    /// Static addresses.
    pub addresses: Vec<Cidr>,
    /// Static routes.
    pub routes: Vec<Route>,
    /// DNS servers.
    pub nameservers: Vec<std::net::IpAddr>,
    /// DNS search domains.
    pub search: Vec<String>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
}

impl Interface {
    /// Whether no address of it comes from elsewhere.
    pub fn is_static(&self) -> bool {
        !self.dhcp4 && !self.dhcp6
    }
}

/// What selects a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// The permanent hardware address, or the current one where no link has it permanently.
    Mac(MacAddr),
    /// A pattern for the kernel's name.
    Name(Glob),
    /// A pattern for the kernel's driver.
    Driver(Glob),
    /// The kernel's name.
    Id(InterfaceName),
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "hardware address {mac}"),
            Self::Name(glob) => write!(f, "name {glob}"),
            Self::Driver(glob) => write!(f, "driver {glob}"),
            Self::Id(name) => write!(f, "name {name}"),
        }
    }
}

/// A route as the kernel keys it: one per destination and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Destination; no bits behind the prefix.
    pub to: Cidr,
    /// Gateway; none when the destination is on the link.
    pub via: Option<std::net::IpAddr>,
    /// Metric, the kernel's default filled in.
    pub metric: u32,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        write!(f, " metric {}", self.metric)
    }
}

impl NetworkConfig {
    /// Checks what came from the host.
    ///
    /// # Errors
    /// The first thing that is wrong, with the interface that it is in.
    pub fn parse(wire: &ApplyNetwork) -> Result<Self, ConfigError> {
        let hostname = wire.hostname.as_deref().map(str::parse).transpose();
        let hostname =
            hostname.map_err(|source| ConfigError::general(Problem::HostName(source)))?;
        if wire.interfaces.len() > MOST_INTERFACES {
            return Err(ConfigError::general(Problem::too_many(
                "interfaces",
                wire.interfaces.len(),
                MOST_INTERFACES,
            )));
        }
        let interfaces = wire
            .interfaces
            .iter()
            .map(|one| {
                parse_interface(one).map_err(|problem| ConfigError::in_interface(&one.id, problem))
            })
            .collect::<Result<Vec<_>, _>>()?;
        check_together(&interfaces)?;
        Ok(Self {
            hostname,
            interfaces,
        })
    }
}

fn parse_interface(wire: &InterfaceConfig) -> Result<Interface, Problem> {
    let id = interface_name(&wire.id)?;
    limit("addresses", wire.addresses.len(), MOST_ADDRESSES)?;
    limit("routes", wire.routes.len(), MOST_ROUTES)?;
    limit("nameservers", wire.nameservers.len(), MOST_NAMESERVERS)?;
    limit("search domains", wire.search.len(), MOST_NAMESERVERS)?;
    let addresses = host_address::parse_all(&wire.addresses)?;
    let routes = routes::parse_all(wire, &addresses)?;
    let interface = Interface {
        matcher: matcher(wire, &id)?,
        set_name: wire.set_name.as_deref().map(interface_name).transpose()?,
        id,
        dhcp4: wire.dhcp4,
        dhcp6: wire.dhcp6,
        dhcp_use_routes: wire.dhcp_use_routes,
        dhcp_use_dns: wire.dhcp_use_dns,
        nameservers: nameservers(&wire.nameservers)?,
        search: wire.search.clone(),
        mtu: wire.mtu,
        addresses,
        routes,
    };
    for domain in &wire.search {
        check_domain(domain).map_err(|source| Problem::name(domain, source))?;
    }
    check_mtu(&interface)?;
    Ok(interface)
}

fn limit(what: &'static str, count: usize, most: usize) -> Result<(), Problem> {
    if count > most {
        return Err(Problem::too_many(what, count, most));
    }
    Ok(())
}

fn interface_name(text: &str) -> Result<InterfaceName, Problem> {
    text.parse().map_err(|source| Problem::name(text, source))
}

fn matcher(wire: &InterfaceConfig, id: &InterfaceName) -> Result<Matcher, Problem> {
    let glob = |text: &str| {
        text.parse::<Glob>()
            .map_err(|source| Problem::name(text, source))
    };
    if let Some(text) = &wire.match_mac {
        let mac = text.parse::<MacAddr>().ok().filter(|mac| mac.is_unicast());
        return mac.map(Matcher::Mac).ok_or_else(|| Problem::mac(text));
    }
    if let Some(text) = &wire.match_name {
        return glob(text).map(Matcher::Name);
    }
    if let Some(text) = &wire.match_driver {
        return glob(text).map(Matcher::Driver);
    }
    Ok(Matcher::Id(id.clone()))
}

fn nameservers(texts: &[String]) -> Result<Vec<std::net::IpAddr>, Problem> {
    let parse = |text: &String| {
        let ip = text.parse::<std::net::IpAddr>().ok();
        ip.filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
            .ok_or_else(|| Problem::nameserver(text))
    };
    texts.iter().map(parse).collect()
}

fn check_mtu(interface: &Interface) -> Result<(), Problem> {
    let Some(mtu) = interface.mtu else {
        return Ok(());
    };
    let carries_v6 = interface.dhcp6 || interface.addresses.iter().any(|a| a.ip().is_ipv6());
    let least = if carries_v6 {
        LEAST_MTU_IPV6
    } else {
        LEAST_MTU
    };
    if !(least..=GREATEST_MTU).contains(&mtu) {
        return Err(Problem::Mtu {
            mtu,
            least,
            greatest: GREATEST_MTU,
            carries_v6,
        });
    }
    Ok(())
}

/// What two interfaces must not have in common.
fn check_together(interfaces: &[Interface]) -> Result<(), ConfigError> {
    for (at, one) in interfaces.iter().enumerate() {
        for earlier in &interfaces[..at] {
            if let Some(problem) = conflict(earlier, one) {
                return Err(ConfigError::in_interface(one.id.as_str(), problem));
            }
        }
    }
    Ok(())
}

fn conflict(earlier: &Interface, one: &Interface) -> Option<Problem> {
    let other = || earlier.id.clone();
    if earlier.id == one.id {
        return Some(Problem::SameId);
    }
    if earlier.matcher == one.matcher {
        return Some(Problem::SameMatch { other: other() });
    }
    if let (Some(a), Some(b)) = (&earlier.set_name, &one.set_name)
        && a == b
    {
        return Some(Problem::SameSetName {
            name: b.clone(),
            other: other(),
        });
    }
    for address in &one.addresses {
        if earlier.addresses.iter().any(|a| a.ip() == address.ip()) {
            return Some(Problem::SameAddress {
                address: *address,
                other: other(),
            });
        }
    }
    for route in &one.routes {
        if earlier
            .routes
            .iter()
            .any(|r| r.to == route.to && r.metric == route.metric)
        {
            return Some(Problem::SameRoute {
                route: *route,
                other: other(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests;
