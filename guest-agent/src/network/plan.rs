//! From the asked network and the links that exist to the steps between them. Pure: no clock, no
//! file, no socket; what it returns is carried out by [`netlink`](super::netlink).
//!
//! On a fully static interface (addresses asked for and no DHCP) the plan also removes what an
//! earlier configuration left: global addresses that are not asked for, and routes of
//! administrators, scripts and DHCP that are default routes or whose gateway is out of reach.
//! Loopback and link-local addresses, routes of the kernel, of router advertisements and of routing
//! daemons stay, and so do links that no interface matches.

use super::config::{Interface, NetworkConfig, Route};
use super::observed::ObservedNetwork;

mod action;
mod error;
mod matching;
mod rename;
mod restore;
mod steps;
mod target;
mod unsupported;

pub use action::{Action, LinkRef};
pub use error::PlanError;
pub(super) use matching::those_there;
pub use restore::restore;
pub use unsupported::Unsupported;

use target::Target;

/// What to do, in order, and what cannot be done this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Steps; empty when everything is so already.
    pub actions: Vec<Action>,
    /// What is asked for and left undone, because it needs systemd-networkd.
    pub unsupported: Vec<Unsupported>,
    /// Kernel indices of the configured links, in the order of the configuration.
    pub links: Vec<u32>,
}

/// Who carries a plan out, which decides what can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// This program, over rtnetlink.
    Netlink,
    /// systemd-networkd, which has DHCP clients and tells systemd-resolved.
    Networkd,
}

/// Plans the way from `network` to `config`.
///
/// # Errors
/// The configuration does not fit the links that exist. Nothing has been changed.
pub fn plan(
    config: &NetworkConfig,
    network: &ObservedNetwork,
    means: Means,
) -> Result<Plan, PlanError> {
    for interface in &config.interfaces {
        let alone = means == Means::Netlink && !interface.is_static();
        if alone && interface.addresses.is_empty() {
            return Err(PlanError::NeedsNetworkd {
                interface: interface.id.clone(),
            });
        }
    }
    let links = matching::links(&config.interfaces, &network.links)?;
    let targets: Vec<Target<'_>> = config
        .interfaces
        .iter()
        .zip(&links)
        .map(|(interface, link)| Target::asked(interface, link, means))
        .collect();
    check_mtus(&config.interfaces, &targets)?;
    check_routes(&config.interfaces, &targets, network)?;
    let mut actions = steps::between(&targets, network)?;
    matching::check_stable(config, &targets, network)?;
    if let Some(name) = &config.hostname
        && name.as_str() != network.hostname
    {
        actions.push(Action::SetHostname {
            name: name.as_str().to_owned(),
        });
    }
    Ok(Plan {
        actions,
        unsupported: match means {
            Means::Netlink => unsupported::of(config),
            Means::Networkd => Vec::new(),
        },
        links: links.iter().map(|link| link.index).collect(),
    })
}

/// An interface that asks for IPv6 and not for an MTU gets the link's.
fn check_mtus(interfaces: &[Interface], targets: &[Target<'_>]) -> Result<(), PlanError> {
    match interfaces
        .iter()
        .zip(targets)
        .find(|(_, target)| target.is_too_small())
    {
        Some((interface, target)) => Err(PlanError::MtuTooSmall {
            interface: interface.id.clone(),
            link: target.link.name.clone(),
            mtu: target.mtu,
        }),
        None => Ok(()),
    }
}

/// The kernel keeps one route per destination and metric: an asked one must not push out the route
/// of a link that stays.
fn check_routes(
    interfaces: &[Interface],
    targets: &[Target<'_>],
    network: &ObservedNetwork,
) -> Result<(), PlanError> {
    for (interface, target) in interfaces.iter().zip(targets) {
        for route in &interface.routes {
            if target
                .link
                .routes
                .iter()
                .any(|present| present.route == *route)
            {
                continue;
            }
            if let Some(holder) = holder(route, target.link.index, targets, network) {
                return Err(PlanError::RouteTaken {
                    interface: interface.id.clone(),
                    route: *route,
                    holder,
                });
            }
        }
    }
    Ok(())
}

fn holder(
    route: &Route,
    except: u32,
    targets: &[Target<'_>],
    network: &ObservedNetwork,
) -> Option<String> {
    let others = network.links.iter().filter(|link| link.index != except);
    others
        .filter(|link| {
            let target = targets
                .iter()
                .find(|target| target.link.index == link.index);
            let mut routes = link.routes.iter().filter(|present| present.same_key(route));
            routes.any(|present| target.is_none_or(|target| target.leaves(present)))
        })
        .map(|link| link.name.clone())
        .next()
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
