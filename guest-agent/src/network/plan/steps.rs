//! The steps from how links are to how they are to be, in an order that the kernel takes.
//!
//! Going down costs a link its routes and its IPv6 addresses, and removing an IPv4 address can cost
//! it the other addresses of the same network and all routes: what may have been lost is set again.

use super::super::address::Cidr;
use super::super::observed::{KernelRoute, ObservedNetwork};
use super::action::Action;
use super::error::PlanError;
use super::rename;
use super::target::Target;

/// The steps for all `targets`; none when they are there already.
pub(super) fn between(
    targets: &[Target<'_>],
    network: &ObservedNetwork,
) -> Result<Vec<Action>, PlanError> {
    let mut actions = Vec::new();
    for target in targets {
        let gone = target.remove_routes.iter();
        actions.extend(gone.map(|route| Action::RemoveRoute {
            link: target.before(),
            route: *route,
        }));
    }
    for target in targets {
        let gone = target.remove_addresses.iter();
        actions.extend(gone.map(|address| Action::RemoveAddress {
            link: target.before(),
            address: *address,
        }));
    }
    let down = targets.iter().filter(|target| target.goes_down());
    actions.extend(down.map(|target| Action::SetDown {
        link: target.before(),
    }));
    actions.extend(rename::order(targets, network)?);
    for target in targets {
        device(target, &mut actions);
        addresses(target, &mut actions);
    }
    for target in targets {
        routes(target, &mut actions);
    }
    Ok(actions)
}

fn device(target: &Target<'_>, actions: &mut Vec<Action>) {
    if target.mtu != target.link.mtu {
        actions.push(Action::SetMtu {
            link: target.after(),
            mtu: target.mtu,
        });
    }
    if target.up && (!target.link.up || target.goes_down()) {
        actions.push(Action::SetUp {
            link: target.after(),
        });
    }
}

fn addresses(target: &Target<'_>, actions: &mut Vec<Action>) {
    for address in &target.addresses {
        let mut lasting = target.link.addresses.iter().filter(|one| one.lasting);
        let present = lasting.any(|one| one.address == *address);
        if !present || may_lose_address(target, address) {
            actions.push(Action::AddAddress {
                link: target.after(),
                address: *address,
            });
        }
    }
}

fn may_lose_address(target: &Target<'_>, address: &Cidr) -> bool {
    if address.ip().is_ipv6() {
        return target.goes_down();
    }
    target
        .remove_addresses
        .iter()
        .any(|gone| gone.network() == address.network())
}

fn routes(target: &Target<'_>, actions: &mut Vec<Action>) {
    let (near, far): (Vec<&KernelRoute>, Vec<&KernelRoute>) = target
        .routes
        .iter()
        .partition(|route| route.route.via.is_none());
    for route in near.iter().chain(&far).copied() {
        let present = target
            .link
            .routes
            .iter()
            .find(|one| one.same_key(&route.route));
        let settled = present.is_some_and(|one| {
            one == route || (one.origin.is_automatic() && one.route == route.route)
        });
        let may_be_there = present.is_some() && !target.goes_down();
        if settled && !may_lose_route(target, route) {
            continue;
        }
        // A route on the link may be the one that the kernel makes for an address.
        if may_be_there || route.route.via.is_none() {
            actions.push(Action::ReplaceRoute {
                link: target.after(),
                route: *route,
            });
        } else {
            actions.push(Action::AddRoute {
                link: target.after(),
                route: *route,
            });
        }
    }
}

fn may_lose_route(target: &Target<'_>, route: &KernelRoute) -> bool {
    let family = route.route.to.family();
    target.goes_down()
        || target
            .remove_addresses
            .iter()
            .any(|gone| gone.family() == family)
}
