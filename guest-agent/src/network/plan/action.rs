//! One step of a plan.

use std::fmt;

use super::super::address::Cidr;
use super::super::observed::KernelRoute;

/// One change to the kernel's state. Links are named by index, which a rename leaves alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Takes the link down; its routes and its IPv6 addresses go with it.
    SetDown {
        /// Kernel index.
        link: u32,
    },
    /// Gives a link that is down another name.
    Rename {
        /// Kernel index.
        link: u32,
        /// Name before.
        from: String,
        /// Name after.
        to: String,
    },
    /// Sets the MTU.
    SetMtu {
        /// Kernel index.
        link: u32,
        /// In bytes.
        mtu: u32,
    },
    /// Brings the link up.
    SetUp {
        /// Kernel index.
        link: u32,
    },
    /// Sees to it that the link does not have an address; the network's route goes with the last
    /// address in it.
    RemoveAddress {
        /// Kernel index.
        link: u32,
        /// The address.
        address: Cidr,
    },
    /// Sees to it that the link has an address.
    AddAddress {
        /// Kernel index.
        link: u32,
        /// The address.
        address: Cidr,
    },
    /// Sees to it that a route is gone.
    RemoveRoute {
        /// Kernel index.
        link: u32,
        /// The route.
        route: KernelRoute,
    },
    /// Adds a route whose destination and metric are free.
    AddRoute {
        /// Kernel index.
        link: u32,
        /// The route.
        route: KernelRoute,
    },
    /// Sees to it that the route for a destination and metric is this one.
    ReplaceRoute {
        /// Kernel index.
        link: u32,
        /// The route.
        route: KernelRoute,
    },
    /// Sets the kernel's host name, until the next boot.
    SetHostname {
        /// The name.
        name: String,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetDown { link } => write!(f, "take link {link} down"),
            Self::Rename { from, to, .. } => write!(f, "rename {from} to {to}"),
            Self::SetMtu { link, mtu } => write!(f, "set MTU {mtu} on link {link}"),
            Self::SetUp { link } => write!(f, "bring link {link} up"),
            Self::RemoveAddress { link, address } => write!(f, "remove {address} from link {link}"),
            Self::AddAddress { link, address } => write!(f, "add {address} to link {link}"),
            Self::RemoveRoute { link, route } => {
                write!(f, "remove route {} from link {link}", route.route)
            }
            Self::AddRoute { link, route } => {
                write!(f, "add route {} to link {link}", route.route)
            }
            Self::ReplaceRoute { link, route } => {
                write!(f, "set route {} on link {link}", route.route)
            }
            Self::SetHostname { name } => write!(f, "set host name {name}"),
        }
    }
}
