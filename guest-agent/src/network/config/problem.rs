//! What can be wrong with a configuration, in words that say where and what to write instead.

use std::fmt;

use super::super::address::{Cidr, CidrError};
use super::super::name::{InterfaceName, NameError};
use super::Route;

/// Most characters of the peer's text that a message repeats.
const MOST_SHOWN: usize = 48;

/// A configuration cannot be applied on any machine. Nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Interface that it is in, safe to print; none for the whole.
    pub interface: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl ConfigError {
    pub(super) fn general(problem: Problem) -> Self {
        Self {
            interface: None,
            problem,
        }
    }

    pub(super) fn in_interface(id: &str, problem: Problem) -> Self {
        Self {
            interface: Some(shown(id)),
            problem,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(id) => write!(f, "interface {id}: {}", self.problem),
            None => write!(f, "{}", self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The host name.
    #[error("host name: {0}")]
    HostName(NameError),
    /// More of something than is taken.
    #[error("{count} {what} are too many, at most {most} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A name or a pattern.
    #[error("{text}: {source_text}")]
    Name {
        /// As written, safe to print.
        text: String,
        /// Why it is refused.
        source_text: NameError,
    },
    /// A hardware address to match.
    #[error(
        "match.macaddress {text}: not the hardware address of a device, like 52:54:00:c8:32:0a"
    )]
    Mac {
        /// As written, safe to print.
        text: String,
    },
    /// An address of the interface.
    #[error("address {text}: {why}")]
    Address {
        /// As written, safe to print.
        text: String,
        /// Why it is refused.
        why: Unusable,
    },
    /// A route.
    #[error("route to {text}: {why}")]
    Route {
        /// Destination as written, safe to print.
        text: String,
        /// Why it is refused.
        why: BadRoute,
    },
    /// A DNS server.
    #[error(
        "nameserver {text}: not the IP address of a server (names cannot be resolved before there is one)"
    )]
    Nameserver {
        /// As written, safe to print.
        text: String,
    },
    /// The MTU.
    #[error(
        "MTU {mtu} is not between {least} and {greatest}{}",
        if *.carries_v6 { ", which IPv6 needs" } else { "" }
    )]
    Mtu {
        /// As asked, in bytes.
        mtu: u32,
        /// Least, in bytes.
        least: u32,
        /// Greatest, in bytes.
        greatest: u32,
        /// Whether the lower bound is that of IPv6.
        carries_v6: bool,
    },
    /// Two interfaces with one key.
    #[error("configured twice")]
    SameId,
    /// Two interfaces select in the same way.
    #[error("matches the same link as interface {other}")]
    SameMatch {
        /// The other.
        other: InterfaceName,
    },
    /// Two interfaces are to get one name.
    #[error("set-name {name} is also given to interface {other}")]
    SameSetName {
        /// The name.
        name: InterfaceName,
        /// The other.
        other: InterfaceName,
    },
    /// Two interfaces are to get one address.
    #[error("address {address} is also given to interface {other}")]
    SameAddress {
        /// The address.
        address: Cidr,
        /// The other.
        other: InterfaceName,
    },
    /// Two routes that the kernel cannot tell apart.
    #[error("route {route} is also on interface {other}; give one of them another metric")]
    SameRoute {
        /// The route.
        route: Route,
        /// The other.
        other: InterfaceName,
    },
}

impl Problem {
    pub(super) const fn too_many(what: &'static str, count: usize, most: usize) -> Self {
        Self::TooMany { what, count, most }
    }

    pub(super) fn name(text: &str, source_text: NameError) -> Self {
        Self::Name {
            text: shown(text),
            source_text,
        }
    }

    pub(super) fn mac(text: &str) -> Self {
        Self::Mac { text: shown(text) }
    }

    pub(super) fn address(text: &str, why: Unusable) -> Self {
        Self::Address {
            text: shown(text),
            why,
        }
    }

    pub(super) fn route(text: &str, why: BadRoute) -> Self {
        Self::Route {
            text: shown(text),
            why,
        }
    }

    pub(super) fn nameserver(text: &str) -> Self {
        Self::Nameserver { text: shown(text) }
    }
}

/// Why an interface cannot have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("{0}")]
    Malformed(CidrError),
    /// `0.0.0.0` or `::`.
    #[error("it stands for no address at all")]
    Unspecified,
    /// `127.0.0.0/8` or `::1`.
    #[error("loopback addresses belong to lo")]
    Loopback,
    /// A group.
    #[error("a multicast address cannot be a host's own")]
    Multicast,
    /// `0.0.0.0/8` or `240.0.0.0/4`.
    #[error("the range is reserved")]
    Reserved,
    /// Everybody.
    #[error("it is the broadcast address of its network")]
    Broadcast,
    /// All host bits are clear.
    #[error("it is the address of the network, not of a host in it")]
    Network,
    /// Prefix 0.
    #[error("prefix length 0 makes every address a neighbour")]
    Everything,
    /// `::ffff:10.0.0.1`.
    #[error("it is an IPv4 address in IPv6 clothes; write it as IPv4")]
    Mapped,
    /// `169.254.0.0/16` or `fe80::/10`.
    #[error("link-local addresses are made by the kernel")]
    LinkLocal,
    /// In a range of k3s.
    #[error("its network overlaps {range}, which k3s uses for {what}")]
    Cluster {
        /// For what.
        what: &'static str,
        /// The range.
        range: Cidr,
    },
    /// The interface has it already.
    #[error("it is there twice")]
    Twice,
}

/// Why there cannot be a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRoute {
    /// The destination cannot be read.
    #[error("{0}")]
    Malformed(CidrError),
    /// Bits behind the prefix are set.
    #[error("has bits behind the prefix; write {network}")]
    HostBits {
        /// What was probably meant.
        network: Cidr,
    },
    /// Multicast, loopback, the kernel's own.
    #[error("nothing can be routed there")]
    Destination,
    /// In a range of k3s.
    #[error("it is in {range}, which k3s uses for {what}")]
    Cluster {
        /// For what.
        what: &'static str,
        /// The range.
        range: Cidr,
    },
    /// The destination is everything and on the link.
    #[error("the default route needs a gateway (`via`)")]
    DefaultWithoutGateway,
    /// The gateway.
    #[error("gateway: {0}")]
    Gateway(BadGateway),
    /// Two routes that the kernel cannot tell apart.
    #[error("it is there twice with metric {metric}")]
    Twice {
        /// Of both.
        metric: u32,
    },
}

/// Why there cannot be a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadGateway {
    /// It cannot be read.
    #[error("not an IP address")]
    Malformed,
    /// IPv4 through IPv6 or the reverse.
    #[error("of another address family than the destination")]
    OtherFamily,
    /// No host can have it.
    #[error("{0}")]
    Unusable(Unusable),
    /// It is the interface's own.
    #[error("it is this interface's own address")]
    Own,
    /// No address of the interface has it in its network.
    #[error("it is in no network of this interface")]
    Outside,
}

/// The peer's text, cut and with control characters escaped; in quotes when it needs them.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(MOST_SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    if !cut.is_empty() && cut.chars().all(plain) {
        return cut;
    }
    format!("{cut:?}")
}
