//! A model of how the kernel answers the steps of a plan, for tests. It refuses what the kernel
//! refuses and forgets what the kernel forgets, in the strictest version of each.

use std::net::IpAddr;

use super::super::address::{Cidr, Family};
use super::super::config::Route;
use super::super::observed::{
    KernelRoute, ObservedAddress, ObservedLink, ObservedNetwork, Origin, Readiness,
};
use super::Action;

/// Carries out all `actions`; the error names the one that the kernel would refuse, and why.
pub(super) fn run(network: &mut ObservedNetwork, actions: &[Action]) -> Result<(), String> {
    for action in actions {
        step(network, action).map_err(|why| format!("{action}: {why}"))?;
    }
    Ok(())
}

pub(super) fn step(network: &mut ObservedNetwork, action: &Action) -> Result<(), &'static str> {
    match action {
        Action::SetHostname { name } => network.hostname.clone_from(name),
        Action::SetDown { link } => {
            let link = find(network, link.index)?;
            link.up = false;
            link.routes.clear();
            link.addresses.retain(|one| one.address.ip().is_ipv4());
        }
        Action::Rename { link: named, to } => {
            if network.links.iter().any(|other| other.name == *to) {
                return Err("name exists");
            }
            let link = find(network, named.index)?;
            if link.up || link.name != named.name {
                return Err("busy");
            }
            link.name.clone_from(to);
        }
        Action::SetMtu { link, mtu } => {
            let link = find(network, link.index)?;
            link.mtu = *mtu;
            if *mtu < 1280 {
                link.addresses.retain(|one| one.address.ip().is_ipv4());
                link.routes.retain(|one| one.route.to.ip().is_ipv4());
            }
        }
        Action::SetUp { link } => {
            let link = find(network, link.index)?;
            link.up = true;
            let addresses = link.addresses.clone();
            addresses.iter().for_each(|one| connect(link, one.address));
        }
        Action::AddAddress { link, address } => add_address(find(network, link.index)?, *address)?,
        Action::RemoveAddress { link, address } => {
            remove_address(find(network, link.index)?, *address);
        }
        Action::RemoveRoute { link, route } => {
            let routes = &mut find(network, link.index)?.routes;
            let at = routes
                .iter()
                .position(|one| one == route)
                .ok_or("no such route")?;
            routes.remove(at);
        }
        Action::AddRoute { link, route } => {
            if network
                .links
                .iter()
                .any(|link| link.routes.iter().any(|one| one.same_key(&route.route)))
            {
                return Err("route exists");
            }
            add_route(find(network, link.index)?, *route)?;
        }
        Action::ReplaceRoute { link, route } => {
            let holds =
                |other: &ObservedLink| other.routes.iter().any(|one| one.same_key(&route.route));
            let holders = network.links.iter_mut().filter(|other| holds(other));
            if let Some(holder) = holders.max_by_key(|other| other.index == link.index)
                && let Some(at) = holder
                    .routes
                    .iter()
                    .position(|one| one.same_key(&route.route))
            {
                holder.routes.remove(at);
            }
            add_route(find(network, link.index)?, *route)?;
        }
    }
    Ok(())
}

fn find(network: &mut ObservedNetwork, index: u32) -> Result<&mut ObservedLink, &'static str> {
    network
        .links
        .iter_mut()
        .find(|link| link.index == index)
        .ok_or("no such link")
}

fn connect(link: &mut ObservedLink, address: Cidr) {
    let route = connected(address);
    if !link.routes.contains(&route) {
        link.routes.push(route);
    }
}

fn connected(address: Cidr) -> KernelRoute {
    let metric = if address.family() == Family::V4 {
        0
    } else {
        256
    };
    KernelRoute {
        route: Route {
            to: address.network(),
            via: None,
            metric,
        },
        origin: Origin::Kernel,
        source: None,
    }
}

fn add_address(link: &mut ObservedLink, address: Cidr) -> Result<(), &'static str> {
    if address.ip().is_ipv6() && link.mtu < 1280 {
        return Err("no IPv6 on this link");
    }
    if let Some(present) = link.addresses.iter_mut().find(|one| one.address == address) {
        present.lasting = true;
        return Ok(());
    }
    if link
        .addresses
        .iter()
        .any(|one| one.address.ip() == address.ip())
    {
        return Err("address exists");
    }
    link.addresses.push(ObservedAddress {
        address,
        global: true,
        lasting: true,
        peer: false,
        readiness: Readiness::Ready,
    });
    if link.up {
        connect(link, address);
    }
    Ok(())
}

fn remove_address(link: &mut ObservedLink, address: Cidr) {
    let alike = |one: &ObservedAddress| one.address.network() == address.network();
    let Some(first) = link.addresses.iter().find(|one| alike(one)) else {
        return;
    };
    let first = first.address;
    if first == address && address.ip().is_ipv4() {
        link.addresses.retain(|one| !alike(one));
    } else {
        link.addresses.retain(|one| one.address != address);
    }
    if !link.addresses.iter().any(alike) {
        link.routes.retain(|one| *one != connected(address));
    }
    if !link.addresses.iter().any(|one| one.address.ip().is_ipv4()) {
        link.routes.retain(|one| one.route.to.ip().is_ipv6());
    }
}

fn add_route(link: &mut ObservedLink, route: KernelRoute) -> Result<(), &'static str> {
    if !link.up {
        return Err("network is down");
    }
    let near = |via: IpAddr| {
        let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut on_link = link.routes.iter().filter(|one| one.route.via.is_none());
        link_local || on_link.any(|one| one.route.to.contains(via))
    };
    if route.route.via.is_some_and(|via| !near(via)) {
        return Err("network is unreachable");
    }
    link.routes.push(route);
    Ok(())
}
