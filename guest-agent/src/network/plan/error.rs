//! Why a configuration does not fit the links that exist.

use super::super::config::{Matcher, Route};
use super::super::name::InterfaceName;

/// There is no plan, and nothing has been changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No link is the one that is meant.
    #[error("interface {interface}: no link has {matcher}; there is {present}")]
    NoLink {
        /// Key in the configuration.
        interface: InterfaceName,
        /// What was looked for.
        matcher: Matcher,
        /// The links that there are.
        present: String,
    },
    /// More than one link is meant.
    #[error("interface {interface}: {matcher} is not one link but {found}")]
    Ambiguous {
        /// Key in the configuration.
        interface: InterfaceName,
        /// What was looked for.
        matcher: Matcher,
        /// The links that fit.
        found: String,
    },
    /// Two interfaces mean the same link.
    #[error("interfaces {first} and {second} both match {link}")]
    SameLink {
        /// Key in the configuration.
        first: InterfaceName,
        /// Key in the configuration.
        second: InterfaceName,
        /// Name of the link.
        link: String,
    },
    /// The name belongs to a link that keeps it.
    #[error("{link} cannot be renamed to {name}: another link has that name and keeps it")]
    NameTaken {
        /// Current name of the link.
        link: String,
        /// The name.
        name: String,
    },
    /// The names that the configuration gives make it mean other links.
    #[error(
        "interface {interface}: {matcher} means another link once the names are set; \
         match it by hardware address (match.macaddress)"
    )]
    Unstable {
        /// Key in the configuration.
        interface: InterfaceName,
        /// What was looked for.
        matcher: Matcher,
    },
    /// Only DHCP is asked for, and this guest has nothing that speaks it.
    #[error(
        "interface {interface}: DHCP needs systemd-networkd, which does not run here; \
         give the interface an address"
    )]
    NeedsNetworkd {
        /// Key in the configuration.
        interface: InterfaceName,
    },
    /// The link as it is cannot carry an asked IPv6 address.
    #[error("interface {interface}: {link} has MTU {mtu} and IPv6 needs 1280; set `mtu`")]
    MtuTooSmall {
        /// Key in the configuration.
        interface: InterfaceName,
        /// Name of the link.
        link: String,
        /// Its MTU in bytes.
        mtu: u32,
    },
    /// The route would push out that of a link that is left alone.
    #[error(
        "interface {interface}: route {route} would replace that of {holder}; give it another metric"
    )]
    RouteTaken {
        /// Key in the configuration.
        interface: InterfaceName,
        /// The route.
        route: Route,
        /// Name of the link that has it.
        holder: String,
    },
}
