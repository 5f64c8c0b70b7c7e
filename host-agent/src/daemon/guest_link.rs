//! Keeps a cluster connected: carrier, authentication, driver, and again when the link is lost.
//!
//! The current link stands in a slot that everybody who needs one watches: the tasks of the daemon,
//! every forward, and requests of clients. It is filled before [`Report::LinkUp`] is sent and empty
//! before [`Report::LinkDown`].

mod backoff;
mod dialling;
pub(super) mod failure;
mod resume;
mod turns;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, PoisonError, Weak, atomic::AtomicU64},
    time::{Duration, Instant},
};

use lkc_protocol::{
    handover::Taker,
    identity::{Identity, PublicKey},
    link::{self, Incoming, Link, LinkEnd, LinkOptions, Locality},
    session::Limits,
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(super) use dialling::{Dialled, Dialling};

use super::{
    guest_clock::{self, ClockSlot, GuestClock},
    machine_tasks::Place,
    reporter::Reporter,
    reverse::{Arrivals, Limits as ArrivalLimits},
    state::Report,
};
use crate::{
    carrier::{Carrier, ConnectedCarrier, Route},
    config::{ClusterName, Encrypt},
    control::Failure,
    error::Kind,
    machine::Machine,
};
use backoff::Backoff;

/// Longest time from the first byte of an attempt to a link. Each step of the handshake has a
/// deadline of its own; this one bounds a carrier that hangs and a peer that drips.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(12);

/// Longest time that a guest may take to answer the preface on a carrier of this host, in the first
/// attempt. It takes milliseconds, but the preface may get lost where a line has no connections, and
/// a monitor may take in what no guest will read.
const FIRST_GREETING: Duration = Duration::from_secs(1);

/// How long a link that we close may take to say so to the other end.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// A link that stands.
#[derive(Debug, Clone)]
pub struct ActiveLink {
    /// Its number in this run.
    pub number: u64,
    /// The link.
    pub link: Link,
    /// What it goes over.
    pub route: Route,
    /// How the guest's clock stands. Nothing is forwarded while that is not settled.
    pub clock: ClockSlot,
    /// Takes the connections that its guest hands over, where one kernel serves both.
    pub handover: Option<HandedOver>,
    /// What the guest may bring on it.
    pub(super) arrivals: Arc<Arrivals>,
}

/// What a guest under the same kernel hands over.
#[derive(Debug, Clone, Default)]
pub struct HandedOver {
    /// Gives the connections out as long as the link stands. Its descriptors are the guest's as
    /// well, so that only the cluster's own threads may hold it, if only to let go of it.
    pub taker: Weak<Taker>,
    /// Cancelled when the cluster is let go of, which the connections do not outlive.
    pub until: CancellationToken,
}

/// Where the current link is found.
pub type LinkSlot = watch::Receiver<Option<ActiveLink>>;

/// Who we are and whom we expect.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) identity: Arc<Identity>,
    pub(super) guest: PublicKey,
    pub(super) boot_id: [u8; 16],
}

/// What it takes to keep a cluster connected.
pub(super) struct GuestLink {
    pub(super) cluster: ClusterName,
    /// How the agent is reached, the best first, while there is no machine to ask.
    pub(super) carriers: Vec<Route>,
    /// Asked anew in each attempt: a machine that was started again may be elsewhere.
    pub(super) machine: Place,
    pub(super) credentials: Credentials,
    pub(super) encrypt: Encrypt,
    pub(super) slot: Arc<watch::Sender<Option<ActiveLink>>>,
    pub(super) reporter: Reporter,
    /// Counts what the guest asks of this host without being asked to.
    pub(super) denied: Arc<AtomicU64>,
    /// Notified when the next attempt should come now.
    pub(super) now: Arc<Notify>,
    pub(super) token: CancellationToken,
}

impl GuestLink {
    /// Connects and stays connected until the token is cancelled.
    pub(super) async fn run(self) {
        let seed = RandomState::new().hash_one(self.cluster.as_str());
        let mut backoff = Backoff::new(seed, Instant::now());
        let mut dialling = Dialling::new();
        let mut links = 0;
        // Rounds in a row that nobody answered: a busy guest gets more time in each.
        let mut silent = 0;
        while !self.token.is_cancelled() {
            let attempt = self.connect(&mut dialling, greeting(silent));
            let wait = match self.token.run_until_cancelled(attempt).await {
                None => return,
                Some(Ok(connected)) => {
                    links += 1;
                    silent = 0;
                    let since = Instant::now();
                    self.keep(connected, links).await;
                    backoff.ended(since.elapsed(), Instant::now())
                }
                Some(Err(Attempt::Absent(failure))) => {
                    let wait = backoff.absent(Instant::now());
                    if backoff.attempt() == 1 {
                        self.failed(backoff.attempt(), failure).await;
                    }
                    wait
                }
                Some(Err(Attempt::Silent(failure))) => {
                    silent += 1;
                    let wait = backoff.absent(Instant::now());
                    if silent == 1 {
                        self.failed(backoff.attempt(), failure).await;
                    }
                    wait
                }
                Some(Err(Attempt::Failed(failure))) => {
                    let wait = backoff.failed();
                    self.failed(backoff.attempt(), failure).await;
                    wait
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = dialling.early() => {}
                () = self.stirred() => {
                    backoff.reset(Instant::now());
                    silent = 0;
                    // What began before may lead to what is no more.
                    dialling = Dialling::new();
                }
                () = self.token.cancelled() => return,
            }
        }
    }

    /// Returns when the next attempt is due whatever the backoff says.
    async fn stirred(&self) {
        tokio::select! {
            () = self.now.notified() => {}
            () = resume::resumed() => {}
        }
    }

    async fn failed(&self, attempt: u32, failure: Failure) {
        tracing::debug!(cluster = %self.cluster, attempt, kind = ?failure.kind, "no link: {}", failure.message);
        self.reporter
            .send(Report::LinkFailed { attempt, failure })
            .await;
    }

    /// Gives every carrier its turn; the first whose other end authenticates wins. On an only one of
    /// this host a guest that does not answer the preface within `greeting` is given up; of several a
    /// slow one keeps nobody waiting.
    async fn connect<'a>(
        &'a self,
        dialling: &mut Attempts<'a>,
        greeting: Duration,
    ) -> Result<Connected, Attempt> {
        let carriers = self.carriers().await;
        let greeting = match carriers[..] {
            [ref only] if only.is_near() => greeting,
            _ => link::STEP_DEADLINE,
        };
        let dial = |route: Route| -> Dialled<'a, Connected, Attempt> {
            Box::pin(async move { self.connect_over(&route, greeting).await })
        };
        let failures = match dialling.round(&carriers, dial).await {
            Ok(connected) => return Ok(connected),
            Err(failures) => failures,
        };
        let named = failures
            .into_iter()
            .map(|(route, attempt)| attempt.named(&route, carriers.len()));
        Err(named.reduce(Attempt::or_worse).unwrap_or_else(|| {
            Attempt::Failed(Failure {
                kind: Kind::BadInput,
                message: "the machine has no carrier".to_owned(),
                hints: Vec::new(),
                tail: Vec::new(),
            })
        }))
    }

    fn machine(&self) -> Option<Arc<Machine>> {
        self.machine
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn carriers(&self) -> Vec<Route> {
        match self.machine() {
            Some(machine) => machine.carriers().await,
            None => self.carriers.clone(),
        }
    }

    async fn connect_over(&self, route: &Route, greeting: Duration) -> Result<Connected, Attempt> {
        let connecting = self.connect_unbounded(route, greeting);
        match timeout(ATTEMPT_DEADLINE, connecting).await {
            Ok(result) => result,
            Err(_) => Err(Attempt::Failed(Failure {
                kind: Kind::Unreachable,
                message: format!(
                    "no link over {route} within {} s",
                    ATTEMPT_DEADLINE.as_secs()
                ),
                hints: Vec::new(),
                tail: Vec::new(),
            })),
        }
    }

    async fn connect_unbounded(
        &self,
        route: &Route,
        greeting: Duration,
    ) -> Result<Connected, Attempt> {
        let carrier = route.connect().await.map_err(|error| {
            let failure = failure::of_carrier(&error);
            if error.is_absent() {
                Attempt::Absent(failure)
            } else {
                Attempt::Failed(failure)
            }
        })?;
        let ConnectedCarrier {
            stream,
            expected,
            locality,
            ..
        } = carrier;
        let options = self.options(locality);
        let peer = self.credentials.guest;
        let (link, incoming, driver) = link::connect_within(stream, peer, &options, greeting)
            .await
            .map_err(|error| {
                let ours = self.machine().is_none_or(|machine| machine.stops_guest());
                let failure = failure::of_connect(&error, &self.cluster, ours);
                if error.is_silence() && matches!(route.carrier, Carrier::Serial(_)) {
                    // A line is there without anybody at its other end.
                    Attempt::Silent(failure::waiting())
                } else if error.is_silence() && route.is_near() {
                    Attempt::Silent(failure)
                } else {
                    Attempt::Failed(failure)
                }
            })?;
        Ok(Connected {
            handover: expected
                .and_then(|expected| expected.bind(&link))
                .map(Arc::new),
            link,
            incoming,
            driver,
            route: route.clone(),
        })
    }

    fn options(&self, locality: Locality) -> LinkOptions {
        LinkOptions {
            identity: Arc::clone(&self.credentials.identity),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.cluster.to_string(),
            boot_id: self.credentials.boot_id,
            encrypt: match self.encrypt {
                Encrypt::Auto => link::Encrypt::Auto,
                Encrypt::Always => link::Encrypt::Always,
            },
            locality,
            limits: Limits::default(),
        }
    }

    /// Shows the link to everybody and moves its bytes until it ends.
    async fn keep(&self, connected: Connected, number: u64) {
        let Connected {
            link,
            handover,
            incoming,
            driver,
            route,
        } = connected;
        let agent_version = link.peer().version.clone();
        tracing::info!(cluster = %self.cluster, link = number, encrypted = link.is_encrypted(), "link up");
        let arrivals = Arrivals::new(ArrivalLimits::default(), Arc::clone(&self.denied));
        let handed_over = handover.as_ref().map(|taker| HandedOver {
            taker: Arc::downgrade(taker),
            until: self.token.clone(),
        });
        let (clock_told, clock) = watch::channel(GuestClock::Unsettled);
        let run = async {
            tokio::select! {
                end = run_both(driver, incoming, &arrivals) => end,
                never = guest_clock::keep_right(&link, &clock_told, resume::resumed) => match never {},
            }
        };
        let mut running = std::pin::pin!(run);
        self.slot.send_replace(Some(ActiveLink {
            number,
            link: link.clone(),
            route: route.clone(),
            clock,
            handover: handed_over,
            arrivals: Arc::clone(&arrivals),
        }));
        // The driver moves while the report waits for its turn.
        let report = self.reporter.send(Report::LinkUp {
            link: number,
            agent_version,
            carrier: Some(Box::new(route)),
        });
        let early = tokio::select! {
            end = &mut running => Some(end),
            () = report => None,
        };
        let end = match early {
            Some(end) => end,
            None => tokio::select! {
                end = &mut running => end,
                () = self.token.cancelled() => {
                    self.slot.send_replace(None);
                    link.close();
                    let _ = timeout(CLOSE_DEADLINE, &mut running).await;
                    LinkEnd::Closed
                }
            },
        };
        self.slot.send_replace(None);
        tracing::info!(cluster = %self.cluster, link = number, "link down: {end}");
        self.reporter
            .send(Report::LinkDown {
                why: end.to_string(),
            })
            .await;
    }
}

/// The carriers that are being dialled.
type Attempts<'a> = Dialling<'a, Route, Connected, Attempt>;

struct Connected {
    route: Route,
    link: Link,
    handover: Option<Arc<Taker>>,
    incoming: Incoming,
    driver: link::Driver<crate::carrier::CarrierStream>,
}

enum Attempt {
    /// Nobody listens.
    Absent(Failure),
    /// Nobody answered where whoever is there answers at once.
    Silent(Failure),
    Failed(Failure),
}

impl Attempt {
    /// Says over which of several carriers.
    fn named(self, route: &Route, carriers: usize) -> Self {
        match self {
            Self::Failed(failure) if carriers > 1 => Self::Failed(over(route, failure)),
            Self::Silent(failure) if carriers > 1 => Self::Silent(over(route, failure)),
            other => other,
        }
    }

    /// The one of the two that tells more: somebody who answered wrongly tells more than nobody.
    fn or_worse(self, later: Self) -> Self {
        match (&self, &later) {
            (Self::Absent(_), Self::Silent(_) | Self::Failed(_))
            | (Self::Silent(_), Self::Failed(_)) => later,
            (Self::Failed(earlier), Self::Failed(failure))
                if earlier.kind == Kind::Unreachable && failure.kind != Kind::Unreachable =>
            {
                later
            }
            _ => self,
        }
    }
}

fn over(route: &Route, failure: Failure) -> Failure {
    Failure {
        message: format!("{route}: {}", failure.message),
        ..failure
    }
}

/// How long a guest may take to answer the preface after so many rounds in which it did not.
fn greeting(silent: u32) -> Duration {
    FIRST_GREETING
        .saturating_mul(1 << silent.min(8))
        .min(link::STEP_DEADLINE)
}

/// Moves the bytes, and takes what the guest brings of what it was asked for.
async fn run_both(
    driver: link::Driver<crate::carrier::CarrierStream>,
    incoming: Incoming,
    arrivals: &Arrivals,
) -> LinkEnd {
    let (end, ()) = tokio::join!(driver.run(), arrivals.serve(incoming));
    end
}

#[cfg(test)]
mod tests;
