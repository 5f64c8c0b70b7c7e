//! Whether somebody on a link answers for an address, asked of the kernel's neighbour table.

use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use tokio::time::Instant;

use super::events::Events;
use super::{Netlink, NetlinkError, io_error};

/// Time until somebody is asked once more. The first request is lost where the wire behind the link
/// has not heard yet that the link is up: a bridge and a queue hear it a second late.
const AGAIN: Duration = Duration::from_millis(500);

/// Whether a host on the link with the kernel's index `link` answers for `ip` within `patience`. The
/// link must be up and `ip` no address of ours.
///
/// # Errors
/// The kernel refuses to ask.
pub(in super::super) async fn answers(
    netlink: &Netlink,
    link: u32,
    ip: IpAddr,
    patience: Duration,
) -> Result<bool, NetlinkError> {
    let deadline = Instant::now() + patience;
    let mut events = Events::of_neighbours()?;
    let found = asked(netlink, &mut events, (link, ip), deadline).await;
    events.close().await;
    found
}

async fn asked(
    netlink: &Netlink,
    events: &mut Events,
    (link, ip): (u32, IpAddr),
    deadline: Instant,
) -> Result<bool, NetlinkError> {
    while Instant::now() < deadline {
        ask(netlink, link, ip).await?;
        let until = deadline.min(Instant::now() + AGAIN);
        loop {
            if is_known(state(netlink, link, ip).await?) {
                return Ok(true);
            }
            if !events.changed(until).await {
                break;
            }
        }
        // Where nothing is told any more the pace stays.
        tokio::time::sleep_until(until).await;
    }
    Ok(false)
}

/// Sends a request on the wire, whatever was known before: that may be of yesterday.
async fn ask(netlink: &Netlink, link: u32, ip: IpAddr) -> Result<(), NetlinkError> {
    let handle = netlink.handle.neighbours();
    let mut known = NeighbourMessage::default();
    known.header.ifindex = link;
    known.header.family = match ip {
        IpAddr::V4(_) => rtnetlink::packet_route::AddressFamily::Inet,
        IpAddr::V6(_) => rtnetlink::packet_route::AddressFamily::Inet6,
    };
    known
        .attributes
        .push(NeighbourAttribute::Destination(neighbour_address(ip)));
    // The kernel confirms a known one, and repeats a request, only after seconds; for a new one it
    // asks at once. Where there was none there is nothing to remove.
    let _ = handle.del(known).execute().await;
    let ask = handle
        .add(link, ip)
        .state(NeighbourState::None)
        .flags(NeighbourFlags::Use)
        .replace();
    ask.execute().await.map_err(failed)
}

const fn is_known(state: Option<NeighbourState>) -> bool {
    matches!(
        state,
        Some(
            NeighbourState::Reachable
                | NeighbourState::Stale
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::Permanent
        )
    )
}

async fn state(
    netlink: &Netlink,
    link: u32,
    ip: IpAddr,
) -> Result<Option<NeighbourState>, NetlinkError> {
    let dump = netlink.handle.neighbours().get().execute();
    let all: Vec<NeighbourMessage> =
        netlink
            .all(dump)
            .await
            .map_err(|source| NetlinkError::Read {
                what: "neighbours",
                source,
            })?;
    let wanted = NeighbourAttribute::Destination(neighbour_address(ip));
    let one = all
        .into_iter()
        .find(|message| message.header.ifindex == link && message.attributes.contains(&wanted));
    Ok(one.map(|message| message.header.state))
}

fn neighbour_address(ip: IpAddr) -> NeighbourAddress {
    match ip {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }
}

fn failed(error: rtnetlink::Error) -> NetlinkError {
    NetlinkError::Read {
        what: "neighbours",
        source: io_error(error),
    }
}
