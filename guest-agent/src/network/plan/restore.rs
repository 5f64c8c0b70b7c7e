//! The way back to an earlier state.

use super::super::address::Cidr;
use super::super::observed::{ObservedLink, ObservedNetwork};
use super::action::Action;
use super::error::PlanError;
use super::steps;
use super::target::Target;

/// Plans the way from `now` back to `before` for the links with the kernel indices `links`. Empty
/// when they are as they were. What the kernel makes of itself (link-local addresses, routes of
/// networks, what routers advertise) is left to it.
///
/// # Errors
/// A name that a link had is now another's.
pub fn restore(
    before: &ObservedNetwork,
    now: &ObservedNetwork,
    links: &[u32],
) -> Result<Vec<Action>, PlanError> {
    let targets: Vec<Target<'_>> = links
        .iter()
        .filter_map(|&index| Some(as_before(before.link(index)?, now.link(index)?)))
        .collect();
    let mut actions = steps::between(&targets, now)?;
    if before.hostname != now.hostname {
        actions.push(Action::SetHostname {
            name: before.hostname.clone(),
        });
    }
    Ok(actions)
}

fn as_before<'a>(before: &'a ObservedLink, now: &'a ObservedLink) -> Target<'a> {
    let settable = |link: &ObservedLink| -> Vec<Cidr> {
        let those = link
            .addresses
            .iter()
            .filter(|one| one.global && one.lasting && !one.peer);
        those.map(|one| one.address).collect()
    };
    let addresses = settable(before);
    let mut remove_addresses = settable(now);
    remove_addresses.retain(|address| !addresses.contains(address));
    let routes = before
        .routes
        .iter()
        .filter(|one| !one.origin.is_automatic());
    let remove_routes = now.routes.iter().filter(|one| {
        let known = before
            .routes
            .iter()
            .any(|earlier| earlier.same_key(&one.route));
        !one.origin.is_automatic() && !known
    });
    Target {
        name: &before.name,
        up: before.up,
        mtu: before.mtu,
        addresses,
        remove_addresses,
        routes: routes.copied().collect(),
        remove_routes: remove_routes.copied().collect(),
        link: now,
    }
}
