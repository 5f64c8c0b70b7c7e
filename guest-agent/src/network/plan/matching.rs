//! Which link each configured interface is.

use super::super::config::{Interface, Matcher, NetworkConfig};
use super::super::observed::{ObservedLink, ObservedNetwork};
use super::error::PlanError;
use super::target::Target;

/// The link of each interface, in the order of the interfaces; no link is there twice.
pub(super) fn links<'a>(
    interfaces: &[Interface],
    links: &'a [ObservedLink],
) -> Result<Vec<&'a ObservedLink>, PlanError> {
    let mut chosen: Vec<&ObservedLink> = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let link = link(interface, links)?;
        if let Some(at) = chosen
            .iter()
            .position(|earlier| earlier.index == link.index)
        {
            return Err(PlanError::SameLink {
                first: interfaces[at].id.clone(),
                second: interface.id.clone(),
                link: link.name.clone(),
            });
        }
        chosen.push(link);
    }
    Ok(chosen)
}

/// The links of those interfaces that match exactly one.
pub(in super::super) fn those_there(interfaces: &[Interface], links: &[ObservedLink]) -> Vec<u32> {
    let found = interfaces
        .iter()
        .filter_map(|interface| link(interface, links).ok());
    found.map(|link| link.index).collect()
}

/// Fails when the interfaces would match other links after the renames: the configuration could
/// not be applied a second time.
pub(super) fn check_stable(
    config: &NetworkConfig,
    targets: &[Target<'_>],
    network: &ObservedNetwork,
) -> Result<(), PlanError> {
    let mut renamed = network.links.clone();
    for target in targets {
        for link in renamed
            .iter_mut()
            .filter(|link| link.index == target.link.index)
        {
            target.name.clone_into(&mut link.name);
        }
    }
    for (interface, target) in config.interfaces.iter().zip(targets) {
        let again = link(interface, &renamed).map(|link| link.index);
        if again != Ok(target.link.index) {
            return Err(PlanError::Unstable {
                interface: interface.id.clone(),
                matcher: interface.matcher.clone(),
            });
        }
    }
    Ok(())
}

fn link<'a>(
    interface: &Interface,
    links: &'a [ObservedLink],
) -> Result<&'a ObservedLink, PlanError> {
    let real: Vec<&ObservedLink> = links.iter().filter(|link| !link.loopback).collect();
    match candidates(interface, &real).as_slice() {
        [one] => Ok(one),
        [] => Err(PlanError::NoLink {
            interface: interface.id.clone(),
            matcher: interface.matcher.clone(),
            present: listed(&real),
        }),
        several => Err(PlanError::Ambiguous {
            interface: interface.id.clone(),
            matcher: interface.matcher.clone(),
            found: listed(several),
        }),
    }
}

fn candidates<'a>(interface: &Interface, links: &[&'a ObservedLink]) -> Vec<&'a ObservedLink> {
    let that = |fits: &dyn Fn(&ObservedLink) -> bool| -> Vec<&'a ObservedLink> {
        links.iter().copied().filter(|link| fits(link)).collect()
    };
    let found = match &interface.matcher {
        Matcher::Mac(mac) => {
            // A VLAN, a bridge and a bond wear the address of the device below them.
            let permanent = that(&|link| link.permanent_mac == Some(*mac));
            if !permanent.is_empty() {
                return permanent;
            }
            return that(&|link| link.mac == Some(*mac));
        }
        Matcher::Driver(glob) => {
            return that(&|link| {
                link.driver
                    .as_deref()
                    .is_some_and(|name| glob.matches(name))
            });
        }
        Matcher::Name(glob) => that(&|link| glob.matches(&link.name)),
        Matcher::Id(id) => that(&|link| link.name == id.as_str()),
    };
    match &interface.set_name {
        // It has been renamed before.
        Some(name) if found.is_empty() => that(&|link| link.name == name.as_str()),
        _ => found,
    }
}

fn listed(links: &[&ObservedLink]) -> String {
    const MOST_LISTED: usize = 8;
    let mut names: Vec<String> = links
        .iter()
        .take(MOST_LISTED)
        .map(|link| match link.permanent_mac.or(link.mac) {
            Some(mac) => format!("{} ({mac})", link.name.escape_debug()),
            None => link.name.escape_debug().to_string(),
        })
        .collect();
    if links.len() > MOST_LISTED {
        names.push(format!("{} more", links.len() - MOST_LISTED));
    }
    if names.is_empty() {
        return "no link but the loopback".to_owned();
    }
    names.join(", ")
}
