//! What can be asked of the wire: whether an address is somebody else's, and whether gateways are
//! there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::netlink::{ChangeError, answers};
use super::observed::ObservedNetwork;
use super::plan::{Action, LinkRef};
use super::session::{Attempt, Session};

/// How long the owner of an address gets to answer: it is asked three times. An answer takes less
/// than a millisecond on a wire that is a bridge or a virtual switch.
const OWNER: Duration = Duration::from_millis(1500);

/// How long a gateway gets, which may be a router that starts with its guest.
const GATEWAY: Duration = Duration::from_secs(3);

/// How long a link that was down may take until it carries.
const CARRIER: Duration = Duration::from_secs(1);

/// Whether nobody else has the addresses that a change brings. The kernel looks for duplicates of
/// IPv6 addresses by itself. Links that are down are brought up for it.
pub(super) async fn addresses(session: &mut Session, attempt: &Attempt) -> Result<(), ChangeError> {
    let interfaces = attempt.config.interfaces.iter();
    for (interface, &index) in interfaces.zip(&attempt.planned.links) {
        let before = session.observe().await?;
        let own = |ip: IpAddr| {
            let mut links = before.links.iter();
            links.any(|link| link.addresses.iter().any(|one| one.address.ip() == ip))
        };
        let new: Vec<_> = interface
            .addresses
            .iter()
            .filter(|address| address.ip().is_ipv4() && !own(address.ip()))
            .collect();
        if new.is_empty() || !carries(session, index).await? {
            continue;
        }
        let netlink = &session.netlink;
        let asking = new
            .iter()
            .map(|address| answers(netlink, index, address.ip(), OWNER));
        for (address, answered) in new.iter().zip(join_all(asking).await) {
            if answered? {
                let link = before.link(index).map(|link| link.name.clone());
                return Err(ChangeError::Duplicate {
                    address: **address,
                    link: link.unwrap_or_default(),
                });
            }
        }
    }
    Ok(())
}

/// Whether somebody answers for each gateway.
pub(super) async fn gateways(
    session: &Session,
    attempt: &Attempt,
    network: &ObservedNetwork,
) -> Result<(), ChangeError> {
    let interfaces = attempt.config.interfaces.iter();
    for (interface, &index) in interfaces.zip(&attempt.planned.links) {
        let gateways: BTreeSet<IpAddr> = interface
            .routes
            .iter()
            .filter_map(|route| route.via)
            .collect();
        for gateway in gateways {
            if !answers(&session.netlink, index, gateway, GATEWAY).await? {
                let link = network.link(index).map(|link| link.name.clone());
                return Err(ChangeError::NoGateway {
                    gateway,
                    link: link.unwrap_or_default(),
                });
            }
        }
    }
    Ok(())
}

async fn carries(session: &mut Session, index: u32) -> Result<bool, ChangeError> {
    let deadline = Instant::now() + CARRIER;
    let mut raised = false;
    loop {
        let network = session.observe().await?;
        let Some(link) = network.link(index) else {
            return Ok(false);
        };
        if link.up && link.carrier {
            return Ok(true);
        }
        if !link.up && !raised {
            let link = LinkRef {
                index,
                name: link.name.clone(),
            };
            session.netlink.execute(&Action::SetUp { link }).await?;
            raised = true;
            continue;
        }
        if !session.events.changed(deadline).await {
            return Ok(false);
        }
    }
}
