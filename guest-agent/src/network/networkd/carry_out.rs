//! From the files in force to others, and back.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::super::config::{Interface, NetworkConfig};
use super::super::netlink::{ChangeError, Events, Netlink, unsettled};
use super::super::observed::{ObservedLink, ObservedNetwork};
use super::super::plan::{Action, Means, Plan, plan};
use super::bus::{Bus, BusError, News};
use super::{DIRECTORY, File, directory};

/// How long networkd may take until all is as asked; a lease and the look for duplicates of an
/// IPv6 address take seconds of it.
const SETTLE: Duration = Duration::from_secs(15);

/// Has networkd bring `config` about by `files`, and verifies it.
pub(in super::super) async fn carry_out(
    (netlink, events, bus): (&Netlink, &mut Events, &Bus),
    config: &NetworkConfig,
    planned: &Plan,
    files: &[File],
) -> Result<ObservedNetwork, ChangeError> {
    let mut news = bus.news().await?;
    let changed = directory::replace(Path::new(DIRECTORY), files)?;
    let renamed = take_own_steps(netlink, &planned.actions).await?;
    if changed {
        bus.reload().await?;
    }
    // Files that are as they were mean nothing to a reload, nor does a name that we gave.
    let anew = match changed {
        true => renamed,
        false if planned.actions.is_empty() => Vec::new(),
        false => planned.links.clone(),
    };
    for index in anew {
        bus.reconfigure(index).await?;
    }
    let deadline = Instant::now() + SETTLE;
    loop {
        let network = netlink.observe().await?;
        let waiting = match plan(config, &network, Means::Networkd) {
            // A link that is not mentioned any more may still have the route of one that is.
            Err(error) => Some(error.into()),
            Ok(left) => match unsettled(&left, config, &network) {
                Some(waiting) => Some(waiting),
                None => unfinished(bus, config, &left, &network).await?,
            },
        };
        let Some(waiting) = waiting else {
            return Ok(network);
        };
        let hopeless = matches!(
            waiting,
            ChangeError::Duplicate { .. } | ChangeError::Failed { .. }
        );
        if hopeless || !changed_before(deadline, events, &mut news).await {
            return Err(waiting);
        }
    }
}

/// Puts `files` back and has networkd configure `links` by them, and by whatever else there is for
/// them. What came of it is the caller's to verify.
pub(in super::super) async fn bring_back(
    netlink: &Netlink,
    bus: &Bus,
    files: &[File],
    own_steps: &[Action],
    links: &[u32],
) -> Result<(), ChangeError> {
    directory::replace(Path::new(DIRECTORY), files)?;
    take_own_steps(netlink, own_steps).await?;
    bus.reload().await?;
    for &index in links {
        // Some links may be gone; those that are there must not wait for that.
        if let Err(error) = bus.reconfigure(index).await {
            tracing::warn!(%error, index, "link not configured anew");
        }
    }
    Ok(())
}

/// The steps that networkd does not take: names of a running system, and the host's. Answers with
/// the links that have another name now.
async fn take_own_steps(netlink: &Netlink, actions: &[Action]) -> Result<Vec<u32>, ChangeError> {
    let mut renamed = Vec::new();
    for action in actions {
        match action {
            Action::SetDown { .. } | Action::SetHostname { .. } => {}
            Action::Rename { link, .. } => renamed.push(link.index),
            _ => continue,
        }
        tracing::debug!(%action, "network step");
        netlink.execute(action).await?;
    }
    Ok(renamed)
}

async fn changed_before(deadline: Instant, events: &mut Events, news: &mut News) -> bool {
    tokio::select! {
        changed = events.changed(deadline) => changed,
        changed = news.changed(deadline) => changed,
    }
}

/// What the kernel cannot tell: leases that are not there yet, and DNS servers.
async fn unfinished(
    bus: &Bus,
    config: &NetworkConfig,
    planned: &Plan,
    network: &ObservedNetwork,
) -> Result<Option<ChangeError>, BusError> {
    for (interface, &index) in config.interfaces.iter().zip(&planned.links) {
        let Some(link) = network.link(index) else {
            continue;
        };
        if let Some(waiting) = lease(bus, interface, link).await? {
            return Ok(Some(waiting));
        }
        if let Some(waiting) = servers(bus, interface, link).await? {
            return Ok(Some(waiting));
        }
    }
    Ok(None)
}

async fn lease(
    bus: &Bus,
    interface: &Interface,
    link: &ObservedLink,
) -> Result<Option<ChangeError>, BusError> {
    let state = bus.setup_state(link.index).await?;
    let name = link.name.clone();
    if state == "failed" {
        return Ok(Some(ChangeError::Failed { link: name }));
    }
    let leased = |v4: bool| {
        let mut given = link.addresses.iter();
        given.any(|one| one.global && !one.lasting && one.address.ip().is_ipv4() == v4)
    };
    let lacking = (interface.dhcp4 && !leased(true)) || (interface.dhcp6 && !leased(false));
    Ok(lacking.then_some(ChangeError::NoLease { link: name }))
}

async fn servers(
    bus: &Bus,
    interface: &Interface,
    link: &ObservedLink,
) -> Result<Option<ChangeError>, BusError> {
    if interface.nameservers.is_empty() && interface.dhcp_use_dns {
        return Ok(None);
    }
    let Some(known) = bus.dns(link.index).await? else {
        return Ok(None);
    };
    let asked = &interface.nameservers;
    let from_elsewhere = !interface.is_static() && interface.dhcp_use_dns;
    let there = asked.iter().all(|server| known.contains(server));
    let alone = from_elsewhere || known.iter().all(|server| asked.contains(server));
    Ok((!there || !alone).then(|| ChangeError::Dns {
        link: link.name.clone(),
    }))
}
