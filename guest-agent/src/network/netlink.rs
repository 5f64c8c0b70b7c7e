//! The kernel's side: reads links, addresses and routes over rtnetlink and carries out steps.

use std::future::Future;
use std::io;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::RouteMessage;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::observed::ObservedNetwork;
use super::plan::Action;

mod change;
mod driver;
mod events;
mod neighbour;
mod read;
mod write;

pub use change::ChangeError;
pub(super) use change::{carry_out, listed, unsettled};
pub(super) use events::Events;
pub(super) use neighbour::answers;

/// How long the kernel may take for one answer; it usually takes less than a millisecond.
const ANSWER: Duration = Duration::from_secs(5);

/// How often the state is read until two readings agree. A reading takes several dumps, and the
/// kernel does not say when a change fell between them.
const MOST_READINGS: usize = 16;

/// The kernel refused, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket")]
    Open(#[source] io::Error),
    /// A reading failed.
    #[error("cannot read the kernel's {what}")]
    Read {
        /// Of what.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A step failed.
    #[error("cannot {action}")]
    Refused {
        /// The step.
        action: Action,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No two readings agreed.
    #[error("the network changes faster than it can be read")]
    Unsteady,
}

/// A connection to the kernel. Its task ends with it.
#[derive(Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    connection: AbortOnDropHandle<()>,
}

impl Netlink {
    /// Connects within the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(Self { handle, connection })
    }

    /// Ends the connection and waits until its task is gone.
    pub async fn close(self) {
        self.connection.abort();
        let _cancelled = self.connection.await;
    }

    /// Reads links, addresses, the routes of the main table and the host name, until two readings
    /// in a row agree.
    ///
    /// # Errors
    /// The kernel does not answer, or changes all the time.
    pub async fn observe(&self) -> Result<ObservedNetwork, NetlinkError> {
        let mut earlier = self.read().await?;
        for _ in 1..MOST_READINGS {
            let reading = self.read().await?;
            if reading == earlier {
                return Ok(reading);
            }
            earlier = reading;
        }
        Err(NetlinkError::Unsteady)
    }

    /// Carries out one step.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub async fn execute(&self, action: &Action) -> Result<(), NetlinkError> {
        let written = self.answer(write::write(&self.handle, action)).await;
        written
            .or_else(|error| {
                if write::is_so_already(action, &error) {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .map_err(|source| NetlinkError::Refused {
                action: action.clone(),
                source,
            })
    }

    async fn read(&self) -> Result<ObservedNetwork, NetlinkError> {
        let failed = |what| move |source| NetlinkError::Read { what, source };
        let links = self.handle.link().get().execute();
        let links: Vec<LinkMessage> = self.all(links).await.map_err(failed("links"))?;
        let addresses = self.handle.address().get().execute();
        let addresses: Vec<AddressMessage> =
            self.all(addresses).await.map_err(failed("addresses"))?;
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut asked = RouteMessage::default();
            asked.header.address_family = family;
            let dump = self.handle.route().get(asked).execute();
            let dump: Vec<RouteMessage> = self.all(dump).await.map_err(failed("routes"))?;
            // A kernel without the family answers with the routes of all families.
            let own = |route: &RouteMessage| route.header.address_family == family;
            routes.extend(dump.into_iter().filter(own));
        }
        let hostname = nix::unistd::gethostname().map_err(io::Error::from);
        let hostname = hostname.map_err(failed("host name"))?;
        Ok(ObservedNetwork {
            hostname: hostname.to_string_lossy().into_owned(),
            links: read::links(&links, &addresses, &routes),
        })
    }

    async fn all<T>(
        &self,
        dump: impl Stream<Item = Result<T, rtnetlink::Error>>,
    ) -> io::Result<Vec<T>> {
        self.answer(dump.map_err(io_error).try_collect()).await
    }

    /// Waits for an answer no longer than [`ANSWER`]. An answer that ends because the connection
    /// has ended looks complete, hence the look at the connection.
    async fn answer<T>(&self, request: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let answer = timeout(ANSWER, request).await.map_err(io::Error::from)?;
        if self.connection.is_finished() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the netlink connection has ended",
            ));
        }
        answer
    }
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod namespace;
