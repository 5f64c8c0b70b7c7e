//! Word from the kernel that something about links, addresses or routes has changed.

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::SocketAddr;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::NetlinkError;

/// A subscription. One change yields many events and an overrun loses some, so an event only says
/// that it is time to read again. It has a connection of its own: an overrun must not hit requests.
#[derive(Debug)]
pub(in super::super) struct Events {
    messages: UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>,
    connection: AbortOnDropHandle<()>,
}

impl Events {
    pub(in super::super) fn subscribe() -> Result<Self, NetlinkError> {
        Self::of(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ])
    }

    pub(super) fn of_neighbours() -> Result<Self, NetlinkError> {
        Self::of(&[MulticastGroup::Neigh])
    }

    fn of(groups: &[MulticastGroup]) -> Result<Self, NetlinkError> {
        let (connection, _handle, messages) =
            rtnetlink::new_multicast_connection(groups).map_err(NetlinkError::Open)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(Self {
            messages,
            connection,
        })
    }

    /// Waits until something has changed since the last call; false at the deadline, and when the
    /// subscription has ended.
    pub(in super::super) async fn changed(&mut self, deadline: Instant) -> bool {
        let first = timeout_at(deadline, self.messages.next()).await;
        while let Some(Some(_)) = self.messages.next().now_or_never() {}
        matches!(first, Ok(Some(_)))
    }

    pub(in super::super) async fn close(self) {
        self.connection.abort();
        let _cancelled = self.connection.await;
    }
}
