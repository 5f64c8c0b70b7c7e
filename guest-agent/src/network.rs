//! The guest's network: what the host asks for, checked, planned and brought about.
//!
//! [`config`] turns the host's text into values, [`plan`] turns values and the links that exist into
//! steps, [`netlink`] carries them out and reads the kernel back. Names, addresses, routes, MTU and
//! host name are set here; DHCP and resolvers need systemd-networkd.

use std::net::IpAddr;

use lkc_protocol::message::{ApplyNetwork, InterfaceInfo, NetworkApplied};

pub mod address;
pub mod config;
pub mod name;
pub mod netlink;
pub mod observed;
pub mod plan;

use config::{ConfigError, NetworkConfig};
use netlink::{ChangeError, Changed, Netlink, NetlinkError, RevertError};
use plan::PlanError;

/// The network did not become as asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The configuration is wrong on any machine. Nothing has been changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration does not fit this machine. Nothing has been changed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The kernel could not be read. Nothing has been changed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// Everything was as asked already and does not work. Nothing has been changed.
    #[error("the network is as asked and cannot be used")]
    Unusable(#[source] ChangeError),
    /// A step failed. The network is as it was before, verified.
    #[error("the network was not changed: the change failed and has been taken back")]
    Reverted(#[source] ChangeError),
    /// A step failed and so did the way back. The network is neither as before nor as asked.
    #[error("the network is half changed: the change failed ({cause}) and could not be taken back")]
    HalfChanged {
        /// Why the change failed.
        cause: ChangeError,
        /// Why it could not be taken back.
        #[source]
        revert: RevertError,
    },
}

/// Brings the interfaces and the host name to what `wire` asks for and verifies that by reading the
/// kernel back; on any failure the earlier state is brought back and verified too. What is so
/// already is left alone. Takes up to 10 s where IPv6 addresses are checked for duplicates.
///
/// Not cancel-safe, and not to be called concurrently: the caller runs one call at a time, each to
/// its end.
///
/// # Errors
/// See [`NetworkError`]; each variant says what state the network is in.
pub async fn apply(wire: &ApplyNetwork) -> Result<NetworkApplied, NetworkError> {
    let config = NetworkConfig::parse(wire)?;
    let changed = netlink::change(&config).await?;
    Ok(NetworkApplied {
        changed: !changed.plan.actions.is_empty(),
        summary: summary(&config, &changed),
    })
}

/// The links as the kernel has them, loopback left out.
///
/// # Errors
/// The kernel could not be read.
pub async fn interfaces() -> Result<Vec<InterfaceInfo>, NetlinkError> {
    let netlink = Netlink::open()?;
    let observed = netlink.observe().await;
    netlink.close().await;
    let links = observed?.links.into_iter().filter(|link| !link.loopback);
    let info = links.map(|link| InterfaceInfo {
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        up: link.up,
        mtu: link.mtu,
        addresses: link
            .addresses
            .iter()
            .map(|one| one.address.to_string())
            .collect(),
        name: link.name,
    });
    Ok(info.collect())
}

/// The addresses that the kernel has, loopback left out; none when it could not be read.
pub async fn own_addresses() -> Vec<IpAddr> {
    let interfaces = interfaces().await.unwrap_or_default();
    interfaces
        .iter()
        .flat_map(|interface| &interface.addresses)
        .filter_map(|address| address.split('/').next()?.parse().ok())
        .collect()
}

/// What there is now, for people, and what was left undone.
fn summary(config: &NetworkConfig, changed: &Changed) -> String {
    const MOST_LISTED: usize = 16;
    let mut parts = Vec::new();
    for (interface, &index) in config.interfaces.iter().zip(&changed.plan.links) {
        let Some(link) = changed.network.link(index) else {
            continue;
        };
        let addresses = interface.addresses.iter();
        parts.extend(addresses.map(|address| format!("{address} on {}", link.name)));
        if interface.addresses.is_empty() {
            parts.push(format!("{} up", link.name));
        }
    }
    if parts.is_empty() {
        let name = config.hostname.as_ref();
        parts.push(name.map_or("nothing asked for".to_owned(), |name| {
            format!("host name {name}")
        }));
    }
    let more = parts.len().saturating_sub(MOST_LISTED);
    parts.truncate(MOST_LISTED);
    let mut text = parts.join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    let undone: Vec<String> = changed
        .plan
        .unsupported
        .iter()
        .map(ToString::to_string)
        .collect();
    if !undone.is_empty() {
        let undone = undone.join(", ");
        text.push_str(&format!(
            "; left undone, as systemd-networkd is needed: {undone}"
        ));
    }
    text
}
