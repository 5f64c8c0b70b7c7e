//! One change of the network from its plan to its end, whoever carries it out.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::NetworkError;
use super::config::NetworkConfig;
use super::netlink::{self, ChangeError, Events, Netlink, NetlinkError};
use super::networkd::{self, Bus, File};
use super::observed::{ObservedNetwork, Origin};
use super::plan::{Action, Means, Plan, plan, restore, those_there};

/// How long the way back may take.
const REVERT: Duration = Duration::from_secs(10);

/// How long of it systemd-networkd alone is given. What it has not brought back by then, as it does
/// not where it is in trouble itself, is done without it.
const NETWORKD_ALONE: Duration = Duration::from_secs(2);

/// The network as it was, as far as it may have to be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    network: ObservedNetwork,
    /// Kernel indices of the links that may be touched.
    links: Vec<u32>,
    /// Our files for systemd-networkd, where it manages the machine.
    files: Option<Vec<File>>,
}

/// A change that is planned and not begun.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) config: NetworkConfig,
    pub(super) planned: Plan,
    pub(super) before: Before,
    files: Vec<File>,
}

impl Attempt {
    /// Whether anything is to do.
    pub(super) fn changes(&self) -> bool {
        let files_change = |there: &Vec<File>| *there != self.files;
        !self.planned.actions.is_empty() || self.before.files.as_ref().is_some_and(files_change)
    }

    /// What is to do, for people.
    pub(super) fn steps(&self) -> Vec<String> {
        let mut steps: Vec<String> = self
            .planned
            .actions
            .iter()
            .map(ToString::to_string)
            .collect();
        let Some(there) = &self.before.files else {
            return steps;
        };
        let same = |file: &&File| !there.contains(file);
        let written = self.files.iter().filter(same);
        steps.extend(written.map(|file| format!("write {}/{}", networkd::DIRECTORY, file.name)));
        let kept = |file: &&File| self.files.iter().all(|other| other.name != file.name);
        let removed = there.iter().filter(kept);
        steps.extend(removed.map(|file| format!("remove {}/{}", networkd::DIRECTORY, file.name)));
        steps
    }
}

/// Why the earlier state could not be brought back.
#[derive(Debug)]
pub struct RevertError {
    /// Steps that were refused, and readings that failed.
    pub failed: Vec<ChangeError>,
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

/// What a change needs: the kernel, its events, and systemd-networkd where that manages the machine.
pub(super) struct Session {
    pub(super) netlink: Netlink,
    pub(super) events: Events,
    bus: Option<Bus>,
}

impl Session {
    /// Connects to everything.
    pub(super) async fn open() -> Result<Self, NetworkError> {
        let bus = Bus::find().await?;
        let netlink = Netlink::open()?;
        match Events::subscribe() {
            Ok(events) => Ok(Self {
                netlink,
                events,
                bus,
            }),
            Err(error) => {
                netlink.close().await;
                Err(error.into())
            }
        }
    }

    /// Ends the connections.
    pub(super) async fn close(self) {
        self.events.close().await;
        self.netlink.close().await;
        if let Some(bus) = self.bus {
            bus.close().await;
        }
    }

    /// Who carries changes out here.
    pub(super) const fn means(&self) -> Means {
        match self.bus {
            Some(_) => Means::Networkd,
            None => Means::Netlink,
        }
    }

    /// Plans the way to `config`. `earlier` is what was applied before, whose links may change by
    /// not being mentioned any more.
    pub(super) async fn prepare(
        &self,
        config: NetworkConfig,
        earlier: Option<&NetworkConfig>,
    ) -> Result<Attempt, NetworkError> {
        let network = self.netlink.observe().await?;
        let mut dropped = Vec::new();
        if let (Some(_), Some(earlier)) = (&self.bus, earlier) {
            dropped = those_there(&earlier.interfaces, &network.links);
            let kept = those_there(&config.interfaces, &network.links);
            dropped.retain(|index| !kept.contains(index));
        }
        let planned = plan(&config, &without(&network, &dropped), self.means())?;
        let mut links = planned.links.clone();
        links.extend(dropped);
        let mut files = Vec::new();
        let mut present = None;
        if self.bus.is_some() {
            let matched: Vec<_> = planned
                .links
                .iter()
                .filter_map(|&index| network.link(index))
                .collect();
            files = networkd::files(&config, &matched);
            present = Some(networkd::read(Path::new(networkd::DIRECTORY))?);
        }
        Ok(Attempt {
            config,
            planned,
            before: Before {
                network,
                links,
                files: present,
            },
            files,
        })
    }

    /// Does what is planned and verifies it. On an error the network is anywhere between.
    pub(super) async fn carry_out(
        &mut self,
        attempt: &Attempt,
    ) -> Result<ObservedNetwork, ChangeError> {
        let Attempt {
            config,
            planned,
            files,
            ..
        } = attempt;
        match &self.bus {
            Some(bus) => {
                let tools = (&self.netlink, &mut self.events, bus);
                networkd::carry_out(tools, config, planned, files).await
            }
            None => {
                let tools = (&self.netlink, &mut self.events);
                netlink::carry_out(tools, config, planned).await
            }
        }
    }

    /// Brings the earlier state back, and verifies that it is.
    pub(super) async fn revert(&mut self, before: &Before) -> Result<(), RevertError> {
        let mut failed = Vec::new();
        let started = Instant::now();
        let mut patience = started;
        if let (Some(bus), Some(files)) = (&self.bus, &before.files) {
            let steps = match self.way_back(before).await {
                Ok(steps) => steps,
                Err(error) => {
                    failed.push(error);
                    Vec::new()
                }
            };
            let back = networkd::bring_back(&self.netlink, bus, files, &steps, &before.links).await;
            failed.extend(back.err());
            patience += NETWORKD_ALONE;
        }
        let mut tried = false;
        loop {
            let left = match self.way_back(before).await {
                Ok(steps) if steps.is_empty() => return Ok(()),
                Ok(steps) => steps,
                Err(error) => {
                    let left = error.to_string();
                    failed.push(error);
                    return Err(RevertError { failed, left });
                }
            };
            let until = if tried { started + REVERT } else { patience };
            if self.events.changed(until).await {
                continue;
            }
            if tried {
                let left = netlink::listed(&left);
                return Err(RevertError { failed, left });
            }
            for action in &left {
                tracing::debug!(%action, "network step back");
                failed.extend(self.netlink.execute(action).await.err().map(Into::into));
            }
            tried = true;
        }
    }

    /// What lies between now and the earlier state. Routes of leases come and go with them.
    async fn way_back(&self, before: &Before) -> Result<Vec<Action>, ChangeError> {
        let now = self.netlink.observe().await?;
        let steps = match self.means() {
            Means::Netlink => restore(&before.network, &now, &before.links)?,
            Means::Networkd => {
                let earlier = without_leases(&before.network);
                restore(&earlier, &without_leases(&now), &before.links)?
            }
        };
        Ok(steps)
    }

    /// Has networkd ask for leases on every card if it manages none; tells whether it did.
    pub(super) async fn fall_back(&self) -> Result<bool, NetworkError> {
        let Some(bus) = &self.bus else {
            return Ok(false);
        };
        let network = self.netlink.observe().await?;
        let cards = network.links.iter().filter(|link| networkd::is_card(link));
        let mut some = false;
        for card in cards {
            some = true;
            if bus.setup_state(card.index).await? != "unmanaged" {
                return Ok(false);
            }
        }
        if some {
            let files = [networkd::fallback()];
            networkd::replace(Path::new(networkd::DIRECTORY), &files)?;
            bus.reload().await?;
        }
        Ok(some)
    }

    /// The network as it is now.
    pub(super) async fn observe(&self) -> Result<ObservedNetwork, NetlinkError> {
        self.netlink.observe().await
    }
}

/// The network when networkd has let go of some links.
fn without(network: &ObservedNetwork, dropped: &[u32]) -> ObservedNetwork {
    let mut network = network.clone();
    let dropped = |index: u32| dropped.contains(&index);
    for link in network.links.iter_mut().filter(|link| dropped(link.index)) {
        link.routes.retain(|route| route.origin.is_automatic());
        link.addresses.retain(|address| !address.global);
    }
    network
}

fn without_leases(network: &ObservedNetwork) -> ObservedNetwork {
    let mut network = network.clone();
    for link in &mut network.links {
        link.routes.retain(|route| route.origin != Origin::Dhcp);
    }
    network
}
