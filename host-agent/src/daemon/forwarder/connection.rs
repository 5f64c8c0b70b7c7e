//! One forwarded connection.

use std::{sync::Arc, time::Duration};

use lkc_protocol::{
    error::RefusalCode,
    link::{Link, RequestError, Stream},
    message::{Dial, DialNetwork},
    relay::{RelayEnd, relay, reset_tcp},
};
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
            Ok(stream) => {
                drop(self.links);
                let end = relay(tcp, stream, &counters.bytes).await;
                tracing::trace!(forward = %self.spec.name, "connection ended: {end}");
                if let RelayEnd::Stream(error) = end {
                    let layer = match error {
                        lkc_protocol::link::StreamError::LinkDown => Layer::Carrier,
                        _ => Layer::Target,
                    };
                    counters.failed(layer, &error.to_string());
                }
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

    /// A stream to the target, over the link that stands or the next one.
    async fn dial(&self, tcp: &TcpStream) -> Result<Stream, Refused> {
        let request = Dial {
            network: DialNetwork::Tcp,
            host: self.spec.guest_host.clone(),
            port: self.spec.guest_port,
        };
        let deadline = Instant::now() + self.park;
        loop {
            let link = self.link_before(deadline, tcp).await?;
            match timeout(DIAL_DEADLINE, link.request(&request)).await {
                Ok(Ok((_, stream))) => return Ok(stream),
                // Nothing of the client's has been sent yet, so the next link may try.
                Ok(Err(RequestError::LinkDown)) => {}
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
    async fn link_before(&self, deadline: Instant, tcp: &TcpStream) -> Result<Link, Refused> {
        let stands = |slot: &Option<ActiveLink>| {
            let active = slot.as_ref()?;
            (!active.link.is_closed()).then(|| active.link.clone())
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

fn refusal(error: &RequestError) -> Refused {
    let (layer, by_target) = match error {
        RequestError::Refused(refusal) => match refusal.code {
            RefusalCode::Unreachable | RefusalCode::Timeout | RefusalCode::Unresolved => {
                (Layer::Target, true)
            }
            _ => (Layer::Agent, true),
        },
        RequestError::LinkDown | RequestError::TooManyStreams => (Layer::Carrier, false),
        RequestError::Answer(_) => (Layer::Agent, false),
    };
    Refused {
        layer,
        by_target,
        why: error.to_string(),
    }
}
