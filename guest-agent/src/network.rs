//! The guest's network: what the host asks for, checked, planned and brought about.
//!
//! [`config`] turns the host's text into values, [`plan`] turns values and the links that exist into
//! steps. Where systemd-networkd manages the machine [`networkd`] has it take them; elsewhere
//! [`netlink`] does, without DHCP and resolvers. Either way what came of it is read from the kernel.

use std::net::IpAddr;

#[cfg(test)]
use lkc_protocol::message::ApplyNetwork;
use lkc_protocol::message::{InterfaceInfo, NetworkApplied};

pub mod address;
pub mod change;
mod check;
pub mod config;
mod keeping;
pub mod name;
pub mod netlink;
pub mod networkd;
pub mod observed;
pub mod plan;
mod session;

use address::Cidr;
use change::{RecordError, Refused};
use config::{ConfigError, NetworkConfig};
use netlink::{ChangeError, Netlink, NetlinkError};
use networkd::{BusError, FileError};
use observed::ObservedNetwork;
use plan::PlanError;
use session::{Attempt, Session};

pub use keeping::{Keeping, Start};
pub use session::RevertError;

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
    /// systemd-networkd manages the machine and cannot be asked. Nothing has been changed.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Files for systemd-networkd cannot be read. Nothing has been changed.
    #[error(transparent)]
    File(#[from] FileError),
    /// What outlives the agent cannot be read or written. Nothing has been changed.
    #[error(transparent)]
    Record(RecordError),
    /// Another change waits for its confirmation. Nothing has been changed.
    #[error(transparent)]
    Busy(Refused),
    /// It is not known what was asked.
    #[error("what the change asked for is not known any more")]
    Forgotten,
    /// The kernel gives no random bytes.
    #[error("cannot make a secret")]
    Random(#[source] std::io::Error),
    /// A change on trial failed; it is taken back.
    #[error(transparent)]
    Failed(ChangeError),
    /// A change was taken back and the network is not as before.
    #[error("the network could not be brought back, left to do: {left}")]
    NotBack {
        /// What.
        left: String,
    },
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
        cause: Box<ChangeError>,
        /// Why it could not be taken back.
        #[source]
        revert: RevertError,
    },
}

/// Brings the interfaces and the host name to what `wire` asks for and verifies that by reading the
/// kernel back; on any failure the earlier state is brought back and verified too. What is so
/// already is left alone. Takes up to 15 s where leases or duplicates of IPv6 addresses are waited
/// for.
///
/// Not cancel-safe, and not to be called concurrently: the caller runs one call at a time, each to
/// its end.
///
/// # Errors
/// See [`NetworkError`]; each variant says what state the network is in.
#[cfg(test)]
pub async fn apply(wire: &ApplyNetwork) -> Result<NetworkApplied, NetworkError> {
    let config = NetworkConfig::parse(wire)?;
    let mut session = Session::open().await?;
    let applied = apply_by(&mut session, config, None).await;
    session.close().await;
    applied
}

async fn apply_by(
    session: &mut Session,
    config: NetworkConfig,
    earlier: Option<&NetworkConfig>,
) -> Result<NetworkApplied, NetworkError> {
    let attempt = session.prepare(config, earlier).await?;
    let cause = match session.carry_out(&attempt).await {
        Ok(network) => {
            return Ok(NetworkApplied {
                changed: attempt.changes(),
                summary: summary(&attempt, &network),
            });
        }
        Err(cause) => cause,
    };
    if !attempt.changes() {
        return Err(NetworkError::Unusable(cause));
    }
    match session.revert(&attempt.before).await {
        Ok(()) => Err(NetworkError::Reverted(cause)),
        Err(revert) => Err(NetworkError::HalfChanged {
            cause: Box::new(cause),
            revert,
        }),
    }
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
fn summary(attempt: &Attempt, network: &ObservedNetwork) -> String {
    const MOST_LISTED: usize = 16;
    let mut parts = Vec::new();
    let Attempt {
        config, planned, ..
    } = attempt;
    for (interface, &index) in config.interfaces.iter().zip(&planned.links) {
        let Some(link) = network.link(index) else {
            continue;
        };
        let given = link
            .addresses
            .iter()
            .filter(|one| one.global && !one.lasting);
        let given = given.filter(|_| !interface.is_static());
        let addresses = interface.addresses.iter().copied();
        let all: Vec<Cidr> = addresses.chain(given.map(|one| one.address)).collect();
        parts.extend(
            all.iter()
                .map(|address| format!("{address} on {}", link.name)),
        );
        if all.is_empty() {
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
    let undone: Vec<String> = planned
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
