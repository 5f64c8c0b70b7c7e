//! Has the guest set its network up: for good where systemd-networkd manages it, else until the next
//! boot.
//!
//! For good means by a trial: the guest takes the change back unless it is confirmed on a link that
//! came up after it, and what is confirmed it sets up by itself at every boot. Where the change ended
//! the link over which it was asked for, the next one finds it waiting and confirms it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use lkc_protocol::{
    link::Link,
    message::{
        ApplyNetwork, ConfirmNetwork, NetworkMeans, NetworkPhase, NetworkStatus,
        NetworkStatusAnswer, NetworkTried, TryNetwork,
    },
    version,
};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{
    guest_link::{ActiveLink, Credentials, LinkSlot},
    guest_tasks::{self, ask},
    reporter::Reporter,
    state::Report,
    visit::Visit,
};
use crate::{carrier::Carrier, config::ClusterSpec, control::Failure, error::Kind};

/// How long the guest may take to apply its network and read it back.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long a trial may go without a confirmation.
const TRIAL: Duration = Duration::from_secs(30);

/// How long the guest may take beyond that to bring the state before back.
const WAY_BACK: Duration = Duration::from_secs(15);

/// Pause between two attempts to come back: nothing tells when a network is there.
const PAUSE: Duration = Duration::from_millis(200);

/// Pause between two looks at another's change, which takes seconds.
const LOOK: Duration = Duration::from_secs(1);

const WHAT: &str = "the network";

/// What the guest was last asked to try: a task on a later link knows it for its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Trial(Arc<Mutex<Option<Asked>>>);

/// A change and its id.
type Asked = ([u8; 16], ApplyNetwork);

/// What it takes to set a guest's network up on one link.
pub(super) struct GuestNetwork {
    pub(super) links: LinkSlot,
    pub(super) link: u64,
    pub(super) spec: Arc<ClusterSpec>,
    pub(super) trial: Trial,
    /// None where they are not known, which leaves the link that there is.
    pub(super) credentials: Option<Credentials>,
}

/// None when only the link is down: the next one begins anew.
type Answer<T> = Result<T, Option<Failure>>;

impl GuestNetwork {
    /// Does it, and reports how that went.
    pub(super) async fn set_up(self, reporter: Reporter) {
        let Some(active) = guest_tasks::active(&self.links, self.link) else {
            return;
        };
        let link = self.link;
        let report = match self.bring_about(&active).await {
            Ok(summary) => Report::NetworkApplied { link, summary },
            Err(Some(failure)) => Report::NetworkFailed { link, failure },
            Err(None) => return,
        };
        reporter.send(report).await;
    }

    async fn bring_about(&self, active: &ActiveLink) -> Answer<String> {
        let network = self.spec.to_network();
        let link = &active.link;
        if link.peer().capability >= version::NETWORK_TRIAL {
            let status = self.status_of_its_own(link).await?;
            if status.means == NetworkMeans::Networkd
                && (status.confirmed.as_ref() != Some(&network) || is_under_way(&status))
            {
                return self.keep(active, network).await;
            }
        }
        // What is confirmed already is only looked after.
        let applied = ask(link, &network, DEADLINE, WHAT, Kind::Other).await?;
        Ok(applied.summary)
    }

    /// How the network stands, once no change of somebody else's is under way: one that a daemon
    /// before this one began is over within its deadline.
    async fn status_of_its_own(&self, link: &Link) -> Answer<NetworkStatusAnswer> {
        let patience = Instant::now() + TRIAL + WAY_BACK;
        loop {
            let status = ask(link, &NetworkStatus {}, DEADLINE, WHAT, Kind::Other).await?;
            let foreign = status.id.is_some_and(|id| !self.trial.is(id));
            if !(foreign && is_under_way(&status)) || Instant::now() >= patience {
                return Ok(status);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn keep(&self, active: &ActiveLink, network: ApplyNetwork) -> Answer<String> {
        let id = self.trial.of(&network)?;
        let begun = Instant::now();
        let wanted = TryNetwork {
            id,
            deadline_ms: u32::try_from(TRIAL.as_millis()).unwrap_or(u32::MAX),
            // What has to outlive the change is the way that the host has to the guest: a new link
            // over it is the proof. The addresses may be no business of this machine's network.
            probe: false,
            plan_only: false,
            network,
        };
        let tried = ask(
            &active.link,
            &wanted,
            TRIAL + WAY_BACK,
            WHAT,
            Kind::RolledBack,
        )
        .await;
        let tried = match tried {
            Ok(tried) => tried,
            Err(Some(failure)) => {
                self.trial.forget();
                return Err(Some(failure));
            }
            Err(None) => return Err(None),
        };
        let confirmed = match tried.pending {
            true => self.confirm(active, id, begun + left(&tried)).await,
            false => Ok(()),
        };
        if !matches!(confirmed, Err(None)) {
            self.trial.forget();
        }
        confirmed.map(|()| tried.summary)
    }

    /// Confirms on the link that there is, which may have come up after the change, else on a new
    /// one beside it.
    async fn confirm(&self, active: &ActiveLink, id: [u8; 16], deadline: Instant) -> Answer<()> {
        let wanted = ConfirmNetwork {
            id,
            proof: Vec::new(),
        };
        let here = ask(&active.link, &wanted, DEADLINE, WHAT, Kind::RolledBack).await;
        let Err(mut last) = here else {
            return Ok(());
        };
        let (Some(credentials), false) = (&self.credentials, is_alone(active)) else {
            // A line carries one link: the daemon's next one is the new one.
            active.link.close();
            return Err(None);
        };
        loop {
            if guest_tasks::active(&self.links, self.link).is_none() {
                return Err(None);
            }
            let route = &active.route;
            match Visit::over(route, &self.spec.name, credentials, true).await {
                Ok(visit) => {
                    let confirmed = visit.ask(&wanted, DEADLINE, WHAT).await;
                    visit.end().await;
                    match confirmed {
                        Ok(_) => return Ok(()),
                        Err(failure) => last = failure.or(last),
                    }
                }
                Err((_, failure)) => last = Some(failure),
            }
            if Instant::now() >= deadline {
                return Err(Some(not_confirmed(last)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Trial {
    /// The id of a change to this network: the same as long as that is the one under way.
    fn of(&self, network: &ApplyNetwork) -> Answer<[u8; 16]> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, _)) = known.as_ref().filter(|(_, wanted)| wanted == network) {
            return Ok(*id);
        }
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| {
            Some(Failure {
                kind: Kind::HostIo,
                message: "the kernel gives no random bytes".to_owned(),
                hints: Vec::new(),
                tail: Vec::new(),
            })
        })?;
        *known = Some((id, network.clone()));
        Ok(id)
    }

    fn is(&self, id: [u8; 16]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|(own, _)| *own == id)
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn is_under_way(status: &NetworkStatusAnswer) -> bool {
    matches!(
        status.phase,
        NetworkPhase::Applying | NetworkPhase::Pending | NetworkPhase::RollingBack
    )
}

fn is_alone(active: &ActiveLink) -> bool {
    matches!(active.route.carrier, Carrier::Serial(_))
}

fn left(tried: &NetworkTried) -> Duration {
    Duration::from_millis(u64::from(tried.left_ms))
}

fn not_confirmed(last: Option<Failure>) -> Failure {
    let why = last.map_or_else(String::new, |failure| format!(": {}", failure.message));
    Failure {
        kind: Kind::RolledBack,
        message: format!("the network could not be confirmed on a new link in time{why}"),
        hints: vec![
            "the guest takes the change back; `lkc-host network status` says when it has"
                .to_owned(),
        ],
        tail: Vec::new(),
    }
}
