//! One forwarded connection.

use std::{os::fd::AsRawFd, sync::Arc, time::Duration};

use lkc_protocol::{
    error::RefusalCode,
    handover::{Connection as Dialled, DialError, dial},
    link::{RequestError, StreamError},
    message::{Dial, DialNetwork},
    relay::{JoinEnd, RelayEnd, join, relay, reset_tcp},
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::Interest,
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    super::guest_link::{ActiveLink, LinkSlot},
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
struct Refused {
    layer: Layer,
    by_target: bool,
    why: String,
}

impl Connection {
    /// Serves one client to its end.
    pub(super) async fn serve(self, tcp: TcpStream) {
        let counters = Arc::clone(&self.counters);
        counters
            .total
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _open = ForwardCounters::hold(&counters.open);
        match self.dial(&tcp).await {
            Ok(dialled) => {
                drop(self.links);
                carry(tcp, dialled, &counters, &self.spec.name).await;
            }
            Err(refused) => {
                reset_tcp(tcp);
                let Refused {
                    layer,
                    by_target,
                    why,
                } = refused;
                tracing::info!(forward = %self.spec.name, "connection reset: {layer}: {}", crate::sanitize::line(&why));
                if by_target {
                    counters.refused(layer, &why);
                } else {
                    counters.failed(layer, &why);
                }
            }
        }
    }

    /// A connection to the target, through the link that stands or the next one.
    async fn dial(&self, tcp: &TcpStream) -> Result<Dialled, Refused> {
        let target = Dial {
            network: DialNetwork::Tcp,
            host: self.spec.guest_host.clone(),
            port: self.spec.guest_port,
        };
        let deadline = Instant::now() + self.park;
        loop {
            let active = self.link_before(deadline, tcp).await?;
            let taker = active.handover.as_deref().filter(|_| has_room_for_two(tcp));
            match timeout(DIAL_DEADLINE, dial(&active.link, taker, &target)).await {
                Ok(Ok(dialled)) => return Ok(dialled),
                // Nothing of the client's has been sent yet, so the next link may try.
                Ok(Err(DialError::Request(RequestError::LinkDown))) => {}
                Ok(Err(error)) => return Err(refusal(&error)),
                Err(_) => {
                    let why = format!("no answer to the dial within {} s", DIAL_DEADLINE.as_secs());
                    return Err(Refused {
                        layer: Layer::Agent,
                        by_target: false,
                        why,
                    });
                }
            }
        }
    }

    /// The link that stands; without one the connection is parked until there is. A client that
    /// resets its connection meanwhile is let go of; one that closes it cannot be told from one that
    /// has only finished sending, and keeps its place.
    async fn link_before(&self, deadline: Instant, tcp: &TcpStream) -> Result<ActiveLink, Refused> {
        let stands = |slot: &Option<ActiveLink>| {
            let active = slot.as_ref()?;
            (!active.link.is_closed()).then(|| active.clone())
        };
        if let Some(link) = stands(&self.links.borrow()) {
            return Ok(link);
        }
        let _parked = ForwardCounters::hold(&self.counters.parked);
        let mut links = self.links.clone();
        let arrival = async {
            let slot = links.wait_for(|slot| stands(slot).is_some()).await;
            slot.ok().and_then(|slot| stands(&slot))
        };
        let waiting = timeout_at(deadline, arrival);
        let waited = tokio::select! {
            biased;
            waited = self.token.run_until_cancelled(waiting) => waited,
            _ = tcp.ready(Interest::ERROR) => return Err(Refused {
                layer: Layer::Host,
                by_target: false,
                why: "the client gave up while its connection was parked".to_owned(),
            }),
        };
        let why = match waited {
            Some(Ok(Some(link))) => return Ok(link),
            Some(Ok(None)) | None => "the forward was closed".to_owned(),
            Some(Err(_)) => format!("no link to the guest within {} ms", self.park.as_millis()),
        };
        Err(Refused {
            layer: Layer::Carrier,
            by_target: false,
            why,
        })
    }
}

/// Moves the bytes of one connection to its end, and counts how it ended.
async fn carry(tcp: TcpStream, dialled: Dialled, counters: &ForwardCounters, forward: &str) {
    let failure = match dialled {
        Dialled::Stream(stream) => {
            let end = relay(tcp, stream, &counters.bytes).await;
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
            let end = join(tcp, target, &counters.bytes).await;
            tracing::trace!(forward, "connection ended: {end}");
            match end {
                JoinEnd::Target(error) => Some((Layer::Target, error.to_string())),
                JoinEnd::Finished | JoinEnd::Client(_) => None,
            }
        }
    };
    if let Some((layer, why)) = failure {
        counters.failed(layer, &why);
    }
}

/// Whether descriptors are plenty: a connection that is handed over takes a second one here. The
/// kernel gives the lowest number that is free, so the client's tells how many are in use.
fn has_room_for_two(tcp: &TcpStream) -> bool {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(tcp.as_raw_fd()).is_ok_and(|number| number < limit / 2)
}

fn refusal(error: &DialError) -> Refused {
    let (layer, by_target) = match error {
        DialError::Handover(_) => (Layer::Agent, false),
        DialError::Request(error) => of_request(error),
    };
    Refused {
        layer,
        by_target,
        why: error.to_string(),
    }
}

const fn of_request(error: &RequestError) -> (Layer, bool) {
    match error {
        RequestError::Refused(refusal) => match refusal.code {
            RefusalCode::Unreachable | RefusalCode::Timeout | RefusalCode::Unresolved => {
                (Layer::Target, true)
            }
            _ => (Layer::Agent, true),
        },
        RequestError::LinkDown | RequestError::TooManyStreams => (Layer::Carrier, false),
        RequestError::Answer(_) => (Layer::Agent, false),
    }
}
