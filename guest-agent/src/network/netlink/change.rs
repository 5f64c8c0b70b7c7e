//! From one verified state to the next, or back.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::super::NetworkError;
use super::super::address::Cidr;
use super::super::config::NetworkConfig;
use super::super::observed::{ObservedNetwork, Readiness};
use super::super::plan::{Action, Plan, PlanError, plan, restore};
use super::events::Events;
use super::{Netlink, NetlinkError};

/// How long the kernel may take until all is as asked; looking for duplicates of an IPv6 address
/// takes one to two seconds of it.
const SETTLE: Duration = Duration::from_secs(10);

/// The network is as asked.
#[derive(Debug)]
pub(in super::super) struct Changed {
    pub(in super::super) plan: Plan,
    pub(in super::super) network: ObservedNetwork,
}

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
    /// The kernel is still looking for duplicates.
    #[error("the kernel still checks {address} on {link} for duplicates")]
    Tentative {
        /// The address.
        address: Cidr,
        /// Name of the link.
        link: String,
    },
}

/// Why the earlier state could not be brought back.
#[derive(Debug)]
pub struct RevertError {
    /// Steps that the kernel refused, and readings that failed.
    pub failed: Vec<NetlinkError>,
    /// What still differs, for people.
    pub left: String,
}

impl fmt::Display for RevertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "left to do: {}", self.left)
    }
}

impl std::error::Error for RevertError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.failed.first().map(|error| error as _)
    }
}

/// Brings the network to `config`, verified, or leaves it as it was.
pub(in super::super) async fn change(config: &NetworkConfig) -> Result<Changed, NetworkError> {
    let netlink = Netlink::open()?;
    let changed = match Events::subscribe() {
        Ok(mut events) => {
            let changed = change_by(&netlink, &mut events, config).await;
            events.close().await;
            changed
        }
        Err(error) => Err(error.into()),
    };
    netlink.close().await;
    changed
}

async fn change_by(
    netlink: &Netlink,
    events: &mut Events,
    config: &NetworkConfig,
) -> Result<Changed, NetworkError> {
    let before = netlink.observe().await?;
    let plan = plan(config, &before)?;
    let cause = match carry_out(netlink, events, config, &plan).await {
        Ok(network) => return Ok(Changed { plan, network }),
        Err(cause) => cause,
    };
    if plan.actions.is_empty() {
        return Err(NetworkError::Unusable(cause));
    }
    match revert(netlink, events, &before, &plan.links).await {
        Ok(()) => Err(NetworkError::Reverted(cause)),
        Err(revert) => Err(NetworkError::HalfChanged { cause, revert }),
    }
}

async fn carry_out(
    netlink: &Netlink,
    events: &mut Events,
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
        let left = plan(config, &network)?;
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
fn unsettled(
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

async fn revert(
    netlink: &Netlink,
    events: &mut Events,
    before: &ObservedNetwork,
    links: &[u32],
) -> Result<(), RevertError> {
    let mut failed = Vec::new();
    let deadline = Instant::now() + SETTLE;
    let mut tried = false;
    loop {
        let steps = match netlink.observe().await {
            Ok(now) => restore(before, &now, links),
            Err(error) => {
                failed.push(error);
                return Err(RevertError {
                    failed,
                    left: "unknown".to_owned(),
                });
            }
        };
        let steps = match steps {
            Ok(steps) if steps.is_empty() => return Ok(()),
            Ok(steps) => steps,
            Err(error) => {
                return Err(RevertError {
                    failed,
                    left: error.to_string(),
                });
            }
        };
        if tried {
            if !events.changed(deadline).await {
                return Err(RevertError {
                    failed,
                    left: listed(&steps),
                });
            }
            continue;
        }
        for action in &steps {
            tracing::debug!(%action, "network step back");
            if let Err(error) = netlink.execute(action).await {
                failed.push(error);
            }
        }
        tried = true;
    }
}

fn listed(actions: &[Action]) -> String {
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
