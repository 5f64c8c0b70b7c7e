//! One forwarded connection.

use std::{
    os::fd::{AsFd, AsRawFd},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use lkc_protocol::{
    error::RefusalCode,
    handover::{Connection as Dialled, DialError, dial},
    hello::Hello,
    link::{RequestError, Stream, StreamError},
    message::{Dial, DialNetwork},
    relay::{JoinEnd, RelayEnd, Socket, join, relay},
    version,
};
use rustix::process::{Resource, getrlimit};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        guest_clock::GuestClock,
        guest_link::{ActiveLink, LinkSlot},
    },
    counters::{ForwardCounters, Layer},
};
use crate::config::ForwardSpec;

/// Longest wait for the guest's answer to a dial. The guest gives up earlier and says why; this
/// is for one that says nothing.
const DIAL_DEADLINE: Duration = Duration::from_secs(20);

/// What every connection of a forward needs.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) spec: Arc<ForwardSpec>,
    pub(super) counters: Arc<ForwardCounters>,
    pub(super) links: LinkSlot,
    /// Cancelled when the forward is closed, which ends the waiting but no connection that stands.
    pub(super) token: CancellationToken,
    /// How long to wait for a link.
    pub(super) park: Duration,
}

/// Why a connection was not made.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) layer: Layer,
    /// The guest's own word for it, where it has said one.
    pub(super) code: Option<RefusalCode>,
    why: String,
}

impl Refused {
    /// Because of the client itself.
    pub(super) const fn by_client(why: String) -> Self {
        Self::without_answer(Layer::Host, why)
    }

    const fn without_answer(layer: Layer, why: String) -> Self {
        let code = None;
        Self { layer, code, why }
    }
}

/// A connection to the target, and when it ends at the latest where it does not with its link.
pub(super) struct Reached {
    dialled: Dialled,
    until: CancellationToken,
}

impl Connection {
    /// Serves one client to its end.
    pub(super) async fn serve(self, client: impl Socket) {
        let counters = Arc::clone(&self.counters);
        counters
            .total
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _open = ForwardCounters::hold(&counters.open);
        match self.dial(&self.target(DialNetwork::Tcp), &client).await {
            Ok(reached) => self.carry(client, reached).await,
            Err(refused) => {
                client.reset_on_close();
                drop(client);
                self.note(&refused);
            }
        }
    }

    /// Moves the bytes of a connection to its end.
    pub(super) async fn carry(self, client: impl Socket, reached: Reached) {
        let Self {
            counters,
            links,
            spec,
            ..
        } = self;
        counters.reached();
        // It needs no other link than its own.
        drop(links);
        carry(client, reached, &counters, &spec.name).await;
    }

    /// What the forward leads to.
    fn target(&self, network: DialNetwork) -> Dial {
        Dial {
            network,
            host: self.spec.guest_host.clone(),
            port: self.spec.guest_port,
        }
    }

    /// Counts and logs a connection that was not made.
    pub(super) fn note(&self, refused: &Refused) {
        let Refused { layer, why, .. } = refused;
        let forward = &self.spec.name;
        tracing::info!(%forward, "not connected: {layer}: {}", crate::sanitize::line(why));
        if refused.code.is_some() {
            self.counters.refused(*layer, why);
        } else {
            self.counters.failed(*layer, why);
        }
    }

    /// A connection to `target`, through the link that stands or the next one.
    pub(super) async fn dial(
        &self,
        target: &Dial,
        client: &impl Socket,
    ) -> Result<Reached, Refused> {
        let gone = async {
            client.failure().await;
        };
        self.through_a_link(target.network, gone, |active| async move {
            let handed_over = active.handover.unwrap_or_default();
            let taker = handed_over.taker.upgrade();
            let taker = taker.as_deref().filter(|_| has_room_for_two(client));
            let dialled = dial(&active.link, taker, target).await?;
            let until = handed_over.until;
            Ok(Reached { dialled, until })
        })
        .await
    }

    /// A stream of datagrams to the target.
    pub(super) async fn dial_udp(&self) -> Result<Stream, Refused> {
        let target = &self.target(DialNetwork::Udp);
        // A client of UDP is not known to be gone.
        let gone = std::future::pending();
        self.through_a_link(target.network, gone, |active| async move {
            let (_, stream) = active.link.request(target).await?;
            Ok(stream)
        })
        .await
    }

    /// Makes something through the link that stands, or the next one when that is lost meanwhile.
    async fn through_a_link<T, F>(
        &self,
        network: DialNetwork,
        gone: impl Future<Output = ()>,
        attempt: impl Fn(ActiveLink) -> F,
    ) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let deadline = Instant::now() + self.park;
        let mut gone = pin!(gone);
        loop {
            let active = self.link_before(deadline, gone.as_mut()).await?;
            knows(network, active.link.peer())?;
            match timeout(DIAL_DEADLINE, attempt(active)).await {
                Ok(Ok(made)) => return Ok(made),
                // Nothing of the client's has been sent yet, so the next link may try.
                Ok(Err(DialError::Request(RequestError::LinkDown))) => {}
                Ok(Err(error)) => return Err(refusal(&error)),
                Err(_) => {
                    let why = format!("no answer to the dial within {} s", DIAL_DEADLINE.as_secs());
                    return Err(Refused::without_answer(Layer::Agent, why));
                }
            }
        }
    }

    /// The link that stands, to a guest whose clock has been looked at; without one the connection is
    /// parked until there is. A client that resets its connection meanwhile is gone; one that closes
    /// it cannot be told from one that has only finished sending, and keeps its place.
    async fn link_before(
        &self,
        deadline: Instant,
        gone: impl Future<Output = ()>,
    ) -> Result<ActiveLink, Refused> {
        let standing = stands(&self.links.borrow());
        if let Some(link) = standing.filter(|active| active.clock.borrow().is_settled()) {
            return Ok(link);
        }
        let _parked = ForwardCounters::hold(&self.counters.parked);
        let waiting = timeout_at(deadline, arrival(self.links.clone()));
        let waited = tokio::select! {
            biased;
            waited = self.token.run_until_cancelled(waiting) => waited,
            () = gone => {
                let why = "the client gave up while its connection was parked";
                return Err(Refused::by_client(why.to_owned()));
            }
        };
        let why = match waited {
            Some(Ok(Some(link))) => return Ok(link),
            Some(Ok(None)) | None => "the forward was closed".to_owned(),
            Some(Err(_)) => format!("no link to the guest within {} ms", self.park.as_millis()),
        };
        Err(Refused::without_answer(Layer::Carrier, why))
    }
}

/// The next link over which something may be forwarded; none when there will be none.
async fn arrival(mut links: LinkSlot) -> Option<ActiveLink> {
    loop {
        let active = stands(&*links.wait_for(|slot| stands(slot).is_some()).await.ok()?)?;
        let mut clock = active.clock.clone();
        let settled = async {
            if clock.wait_for(GuestClock::is_settled).await.is_err() {
                // Nobody looks at it any more: the link goes.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = settled => return Some(active),
            changed = links.changed() => changed.ok()?,
        }
    }
}

fn stands(slot: &Option<ActiveLink>) -> Option<ActiveLink> {
    let active = slot.as_ref()?;
    (!active.link.is_closed()).then(|| active.clone())
}

/// Moves the bytes of one connection to its end, and counts how it ended.
async fn carry(client: impl Socket, reached: Reached, counters: &ForwardCounters, forward: &str) {
    let Reached { dialled, until } = reached;
    let failure = match dialled {
        Dialled::Stream(stream) => {
            let end = relay(client, stream, &counters.bytes).await;
            tracing::trace!(forward, "connection ended: {end}");
            match end {
                RelayEnd::Stream(error @ StreamError::LinkDown) => {
                    Some((Layer::Carrier, error.to_string()))
                }
                RelayEnd::Stream(error) => Some((Layer::Target, error.to_string())),
                RelayEnd::Finished | RelayEnd::Socket(_) => None,
            }
        }
        Dialled::Socket(target) => {
            let joined = join(client, target, &counters.bytes);
            let end = until.run_until_cancelled(joined).await;
            tracing::trace!(forward, "connection ended: {end:?}");
            match end {
                None => Some((Layer::Carrier, "the cluster was let go of".to_owned())),
                Some(JoinEnd::Target(error)) => Some((Layer::Target, error.to_string())),
                Some(JoinEnd::Finished | JoinEnd::Client(_)) => None,
            }
        }
    };
    if let Some((layer, why)) = failure {
        counters.failed(layer, &why);
    }
}

/// Whether descriptors are plenty: a connection that is handed over takes a second one here. The
/// kernel gives the lowest number that is free, so the client's tells how many are in use.
fn has_room_for_two(client: &impl AsFd) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(client.as_fd().as_raw_fd()).is_ok_and(|number| number < limit / 2)
}

/// Refuses what a guest of an earlier version would not understand.
fn knows(network: DialNetwork, guest: &Hello) -> Result<(), Refused> {
    match network {
        DialNetwork::Udp if guest.capability < version::FORWARDS => {
            let version = crate::sanitize::line(&guest.version);
            let why = format!(
                "lkc-guest {version} in the guest is too old for forwards over UDP: upgrade it"
            );
            Err(Refused::without_answer(Layer::Agent, why))
        }
        DialNetwork::Tcp | DialNetwork::Udp => Ok(()),
    }
}

fn refusal(error: &DialError) -> Refused {
    let (layer, code) = match error {
        DialError::Handover(_) => (Layer::Agent, None),
        DialError::Request(error) => of_request(error),
    };
    let why = error.to_string();
    Refused { layer, code, why }
}

const fn of_request(error: &RequestError) -> (Layer, Option<RefusalCode>) {
    match error {
        RequestError::Refused(refusal) => match refusal.code {
            code @ (RefusalCode::Unreachable
            | RefusalCode::NoRoute
            | RefusalCode::Timeout
            | RefusalCode::Unresolved) => (Layer::Target, Some(code)),
            code => (Layer::Agent, Some(code)),
        },
        RequestError::LinkDown | RequestError::TooManyStreams => (Layer::Carrier, None),
        RequestError::Answer(_) => (Layer::Agent, None),
    }
}

#[cfg(test)]
mod tests {
    use lkc_protocol::hello::Role;

    use super::*;

    #[test]
    fn a_guest_that_does_not_know_udp_is_named_as_the_side_to_upgrade() {
        let guest = |capability| Hello {
            capability,
            oldest_capability: 1,
            role: Role::Guest,
            plain: false,
            max_frame: 1,
            max_streams: 1,
            boot_id: [0; 16],
            version: "0.1.0".to_owned(),
            node: String::new(),
        };
        assert!(knows(DialNetwork::Tcp, &guest(1)).is_ok());
        assert!(knows(DialNetwork::Udp, &guest(2)).is_ok());
        let refused = knows(DialNetwork::Udp, &guest(1)).unwrap_err();
        assert_eq!(refused.layer, Layer::Agent);
        insta::assert_snapshot!(refused.why, @"lkc-guest 0.1.0 in the guest is too old for forwards over UDP: upgrade it");
    }
}
