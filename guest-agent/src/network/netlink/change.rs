//! From one verified state to the next, or back.

use std::time::Duration;

use tokio::time::Instant;

use super::super::address::Cidr;
use super::super::config::NetworkConfig;
use super::super::networkd::{BusError, FileError};
use super::super::observed::{ObservedNetwork, Readiness};
use super::super::plan::{Action, Means, Plan, PlanError, plan};
use super::events::Events;
use super::{Netlink, NetlinkError};

/// How long the kernel may take until all is as asked; looking for duplicates of an IPv6 address
/// takes one to two seconds of it.
const SETTLE: Duration = Duration::from_secs(10);

/// Why the network did not become as asked.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The kernel refused a step, or could not be read.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The links changed under the plan.
    #[error("the links have changed meanwhile")]
    Links(#[from] PlanError),
    /// Another host on the link has the address.
    #[error("address {address} on {link} is in use by another host")]
    Duplicate {
        /// The address.
        address: Cidr,
        /// Name of the link.
        link: String,
    },
    /// The kernel took all steps and the state is another.
    #[error("the kernel took every step and still something is left to do: {left}")]
    NotReached {
        /// What.
        left: String,
    },
    /// systemd-networkd could not be asked.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A file for systemd-networkd.
    #[error(transparent)]
    File(#[from] FileError),
    /// systemd-networkd has given a link up.
    #[error(
        "systemd-networkd could not configure {link}: `journalctl -u systemd-networkd` says why"
    )]
    Failed {
        /// Name of the link.
        link: String,
    },
    /// Nobody has given an address.
    #[error("no DHCP server has given {link} an address")]
    NoLease {
        /// Name of the link.
        link: String,
    },
    /// A gateway is not there.
    #[error("gateway {gateway} does not answer on {link}")]
    NoGateway {
        /// Its address.
        gateway: std::net::IpAddr,
        /// Name of the link.
        link: String,
    },
    /// systemd-resolved has other servers.
    #[error("systemd-resolved does not have the DNS servers of {link}")]
    Dns {
        /// Name of the link.
        link: String,
    },
    /// The kernel is still looking for duplicates.
    #[error("the kernel still checks {address} on {link} for duplicates")]
    Tentative {
        /// The address.
        address: Cidr,
        /// Name of the link.
        link: String,
    },
}

/// Takes the steps of a plan and waits until the kernel has them.
pub(in super::super) async fn carry_out(
    (netlink, events): (&Netlink, &mut Events),
    config: &NetworkConfig,
    planned: &Plan,
) -> Result<ObservedNetwork, ChangeError> {
    for action in &planned.actions {
        tracing::debug!(%action, "network step");
        netlink.execute(action).await?;
    }
    let deadline = Instant::now() + SETTLE;
    loop {
        let network = netlink.observe().await?;
        let left = plan(config, &network, Means::Netlink)?;
        let Some(waiting) = unsettled(&left, config, &network) else {
            return Ok(network);
        };
        let hopeless = matches!(waiting, ChangeError::Duplicate { .. });
        if hopeless || !events.changed(deadline).await {
            return Err(waiting);
        }
    }
}

/// What the kernel has not done yet.
pub(in super::super) fn unsettled(
    left: &Plan,
    config: &NetworkConfig,
    network: &ObservedNetwork,
) -> Option<ChangeError> {
    if !left.actions.is_empty() {
        return Some(ChangeError::NotReached {
            left: listed(&left.actions),
        });
    }
    let mut tentative = None;
    for (interface, &index) in config.interfaces.iter().zip(&left.links) {
        let Some(link) = network.link(index) else {
            continue;
        };
        for present in &link.addresses {
            if !interface.addresses.contains(&present.address) {
                continue;
            }
            let (address, link_name) = (present.address, link.name.clone());
            match present.readiness {
                Readiness::Duplicate => {
                    return Some(ChangeError::Duplicate {
                        address,
                        link: link_name,
                    });
                }
                // Without a carrier nobody can be asked, and the check goes on for ever.
                Readiness::Tentative if link.carrier => {
                    tentative = Some(ChangeError::Tentative {
                        address,
                        link: link_name,
                    });
                }
                Readiness::Tentative | Readiness::Ready => {}
            }
        }
    }
    tentative
}

pub(in super::super) fn listed(actions: &[Action]) -> String {
    const MOST_LISTED: usize = 5;
    let mut texts: Vec<String> = actions
        .iter()
        .take(MOST_LISTED)
        .map(ToString::to_string)
        .collect();
    if actions.len() > MOST_LISTED {
        texts.push(format!("{} more", actions.len() - MOST_LISTED));
    }
    texts.join(", ")
}
