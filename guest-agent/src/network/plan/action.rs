//! One step of a plan.

use std::fmt;

use super::super::address::Cidr;
use super::super::observed::KernelRoute;

/// A link: the index that the kernel knows it by, and for people the name that it has by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRef {
    /// Kernel index; a rename leaves it alone.
    pub index: u32,
    /// Name.
    pub name: String,
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name.escape_debug())
    }
}

/// One change to the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Takes the link down; its routes and its IPv6 addresses go with it.
    SetDown {
        /// The link.
        link: LinkRef,
    },
    /// Gives a link that is down another name.
    Rename {
        /// The link.
        link: LinkRef,
        /// Name after.
        to: String,
    },
    /// Sets the MTU.
    SetMtu {
        /// The link.
        link: LinkRef,
        /// In bytes.
        mtu: u32,
    },
    /// Brings the link up.
    SetUp {
        /// The link.
        link: LinkRef,
    },
    /// Sees to it that the link does not have an address; the network's route goes with the last
    /// address in it.
    RemoveAddress {
        /// The link.
        link: LinkRef,
        /// The address.
        address: Cidr,
    },
    /// Sees to it that the link has an address.
    AddAddress {
        /// The link.
        link: LinkRef,
        /// The address.
        address: Cidr,
    },
    /// Sees to it that a route is gone.
    RemoveRoute {
        /// The link.
        link: LinkRef,
        /// The route.
        route: KernelRoute,
    },
    /// Adds a route whose destination and metric are free.
    AddRoute {
        /// The link.
        link: LinkRef,
        /// The route.
        route: KernelRoute,
    },
    /// Sees to it that the route for a destination and metric is this one.
    ReplaceRoute {
        /// The link.
        link: LinkRef,
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
            Self::SetDown { link } => write!(f, "take {link} down"),
            Self::Rename { link, to } => write!(f, "rename {link} to {to}"),
            Self::SetMtu { link, mtu } => write!(f, "set MTU {mtu} on {link}"),
            Self::SetUp { link } => write!(f, "bring {link} up"),
            Self::RemoveAddress { link, address } => write!(f, "remove {address} from {link}"),
            Self::AddAddress { link, address } => write!(f, "add {address} to {link}"),
            Self::RemoveRoute { link, route } => {
                write!(f, "remove route {} from {link}", route.route)
            }
            Self::AddRoute { link, route } => {
                write!(f, "add route {} to {link}", route.route)
            }
            Self::ReplaceRoute { link, route } => {
                write!(f, "set route {} on {link}", route.route)
            }
            Self::SetHostname { name } => write!(f, "set host name {name}"),
        }
    }
}
