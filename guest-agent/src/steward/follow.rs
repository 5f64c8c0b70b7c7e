//! What the steward tells without being asked, as the agent hears it: until nothing happens any more,
//! and again once something does.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    alarm::Alarm,
    client::{self, Steward, silent},
    message::{Event, Follow, Listening, Reread},
    wire::{self, Messages},
};
use crate::{
    k3s::process::STABLE_AFTER,
    network::change::Probes,
    observe::KubeconfigState,
    readiness::{K3sState, LadderConfig, Observation},
};

/// Pause before a steward that has gone is looked for again. systemd starts it anew meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// How long nothing may happen before the steward is let go. By then it has told of all that had
/// happened, and a k3s that runs has started well: what is counted of its ends is forgiven.
const QUIET: Duration = STABLE_AFTER;

/// Who hears of it.
pub(crate) struct Told {
    pub(crate) observations: mpsc::Sender<Observation>,
    pub(crate) kubeconfig: watch::Sender<KubeconfigState>,
    pub(crate) node_name: watch::Sender<Option<String>>,
    /// Asks for another look at the kubeconfig.
    pub(crate) reread: Arc<Notify>,
    /// Which changes where the steward has to look.
    pub(crate) kubeconfig_path: PathBuf,
}

/// How it ended that the steward was followed.
enum End {
    /// The steward has gone.
    Gone,
    /// It is not needed until this rings.
    Quiet(Alarm),
}

impl Steward {
    /// Passes on what it tells until the token is cancelled. It is let go while nothing happens, so
    /// that it can end.
    pub(crate) async fn follow(self, told: Told, cancel: CancellationToken) {
        let mut probes = None;
        let mut asked = self.asked();
        let follow = async {
            loop {
                match self.follow_once(&told, &mut probes, &mut asked).await {
                    Ok(End::Quiet(mut alarm)) => {
                        tracing::debug!("the steward may rest");
                        tokio::select! {
                            () = alarm.rings() => {}
                            Ok(()) = asked.changed() => {}
                            () = told.reread.notified() => {}
                        }
                        continue;
                    }
                    Ok(End::Gone) => tracing::warn!("the steward has ended"),
                    Err(error) => {
                        let refusal = silent(&error);
                        tracing::error!("{refusal}");
                        let state = K3sState::Failed {
                            error: refusal.text,
                            tail: Vec::new(),
                        };
                        told.observe(Observation::K3s(state)).await;
                    }
                }
                sleep(AGAIN).await;
            }
        };
        cancel.run_until_cancelled(follow).await;
    }

    async fn follow_once(
        &self,
        told: &Told,
        probes: &mut Option<Probes>,
        asked: &mut watch::Receiver<u64>,
    ) -> io::Result<End> {
        // Before anything is told: what happens from now on is heard of here or there.
        let alarm = Alarm::new(told.kubeconfig_path.clone());
        let alarm = alarm.inspect_err(|error| tracing::debug!(%error, "the steward cannot rest"));
        let mut alarm = alarm.ok();
        let mut stream = self.connect().await?;
        let begun = client::answer(&mut stream, &Follow {}).await?;
        begun.map_err(io::Error::other)?;
        let (events, _writer) = stream.split();
        let mut events = Messages::of(events);
        let mut is_idle = false;
        loop {
            let watching = alarm.as_ref().is_some_and(Alarm::is_set);
            let may_rest = watching && is_idle && probes.is_none();
            let rings = async {
                match &mut alarm {
                    Some(alarm) => alarm.rings().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Half an answer is another end than a whole one.
                message = events.next() => {
                    let Some(message) = message? else {
                        return Ok(End::Gone);
                    };
                    let event = message.decode().map_err(wire::malformed)?;
                    match &event {
                        Event::Idle(idle) => is_idle = *idle,
                        Event::K3s { state, .. } => {
                            if let Some(alarm) = &mut alarm {
                                alarm.follow(state);
                            }
                        }
                        _ => {}
                    }
                    self.hear(event, told, probes).await;
                }
                () = told.reread.notified() => {
                    if let Err(refusal) = self.ask(&Reread {}).await {
                        tracing::debug!(%refusal, "the kubeconfig is not read again");
                    }
                }
                // What these bring the steward says itself, soon.
                () = rings => {}
                Ok(()) = asked.changed() => {}
                () = sleep(QUIET), if may_rest => {
                    if let Some(alarm) = alarm {
                        return Ok(End::Quiet(alarm));
                    }
                }
            }
        }
    }

    async fn hear(&self, event: Event, told: &Told, probes: &mut Option<Probes>) {
        match event {
            Event::Idle(_) => {}
            Event::Node { role, name } => {
                told.node_name.send_if_modified(|known| {
                    let differs = known.as_ref() != Some(&name);
                    *known = Some(name.clone());
                    differs
                });
                let config = LadderConfig {
                    role,
                    node_name: name,
                };
                told.observe(Observation::Configured(config)).await;
            }
            Event::Network(state) => told.observe(Observation::Network(state)).await,
            Event::K3s { state, started_ms } => {
                let started = started_ms.map(|since| UNIX_EPOCH + Duration::from_millis(since));
                told.observe(Observation::Started(started)).await;
                told.observe(Observation::K3s(state)).await;
            }
            Event::Kubeconfig(state) => {
                told.kubeconfig.send_if_modified(|current| {
                    let differs = *current != state;
                    *current = state;
                    differs
                });
            }
            Event::Probes(wanted) => {
                // The addresses may be the same again.
                *probes = None;
                let Some(wanted) = wanted else { return };
                let listening = Probes::listen(wanted.addresses, wanted.secret).await;
                let told = Listening {
                    secret: wanted.secret,
                    addresses: listening.addresses.clone(),
                };
                *probes = Some(listening);
                if let Err(refusal) = self.ask(&told).await {
                    tracing::warn!(%refusal, "nobody hears that probes are answered");
                }
            }
        }
    }
}

impl Told {
    async fn observe(&self, observation: Observation) {
        // At the end nobody observes any more.
        let _ = self.observations.send(observation).await;
    }
}
