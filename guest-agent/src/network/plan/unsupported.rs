//! What a configuration asks for that needs systemd-networkd.

use std::fmt;
use std::net::IpAddr;

use super::super::config::NetworkConfig;
use super::super::name::InterfaceName;

/// Something that is left undone; the rest of the configuration is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsupported {
    /// No resolver is configured.
    Nameservers {
        /// Key in the configuration.
        interface: InterfaceName,
        /// The servers.
        servers: Vec<IpAddr>,
    },
    /// No search domains are configured.
    Search {
        /// Key in the configuration.
        interface: InterfaceName,
    },
    /// No lease is asked for; the static addresses are set.
    Dhcp {
        /// Key in the configuration.
        interface: InterfaceName,
    },
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nameservers { interface, servers } => {
                let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
                write!(f, "nameservers {} of {interface}", servers.join(" "))
            }
            Self::Search { interface } => write!(f, "search domains of {interface}"),
            Self::Dhcp { interface } => write!(f, "DHCP on {interface}"),
        }
    }
}

pub(super) fn of(config: &NetworkConfig) -> Vec<Unsupported> {
    let mut all = Vec::new();
    for interface in &config.interfaces {
        let id = || interface.id.clone();
        if !interface.nameservers.is_empty() {
            all.push(Unsupported::Nameservers {
                interface: id(),
                servers: interface.nameservers.clone(),
            });
        }
        if !interface.search.is_empty() {
            all.push(Unsupported::Search { interface: id() });
        }
        if !interface.is_static() {
            all.push(Unsupported::Dhcp { interface: id() });
        }
    }
    all
}
