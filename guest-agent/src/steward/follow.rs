//! What the steward tells without being asked, as the agent hears it.

use std::{
    io,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    client::{self, Steward, silent},
    message::{Event, Follow, Listening, Reread},
    wire,
};
use crate::{
    network::change::Probes,
    observe::KubeconfigState,
    readiness::{K3sState, LadderConfig, Observation},
};

/// Pause before a steward that has gone is looked for again. systemd starts it anew meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// Who hears of it.
pub(crate) struct Told {
    pub(crate) observations: mpsc::Sender<Observation>,
    pub(crate) kubeconfig: watch::Sender<KubeconfigState>,
    pub(crate) node_name: watch::Sender<Option<String>>,
    /// Asks for another look at the kubeconfig.
    pub(crate) reread: Arc<Notify>,
}

impl Steward {
    /// Passes on what it tells until the token is cancelled.
    pub(crate) async fn follow(self, told: Told, cancel: CancellationToken) {
        let mut probes = None;
        let follow = async {
            loop {
                match self.follow_once(&told, &mut probes).await {
                    Ok(()) => tracing::warn!("the steward has ended"),
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
                tokio::time::sleep(AGAIN).await;
            }
        };
        cancel.run_until_cancelled(follow).await;
    }

    async fn follow_once(&self, told: &Told, probes: &mut Option<Probes>) -> io::Result<()> {
        let mut stream = self.connect().await?;
        let begun = client::answer(&mut stream, &Follow {}).await?;
        begun.map_err(io::Error::other)?;
        let (mut events, _writer) = stream.split();
        let hear = async {
            while let Some(message) = wire::read(&mut events).await? {
                let event = message.decode().map_err(wire::malformed)?;
                self.hear(event, told, probes).await;
            }
            Ok(())
        };
        let ask_for_more = async {
            loop {
                told.reread.notified().await;
                if let Err(refusal) = self.ask(&Reread {}).await {
                    tracing::debug!(%refusal, "the kubeconfig is not read again");
                }
            }
        };
        tokio::select! {
            ended = hear => ended,
            never = ask_for_more => never,
        }
    }

    async fn hear(&self, event: Event, told: &Told, probes: &mut Option<Probes>) {
        match event {
            Event::Node { role, name } => {
                told.node_name.send_replace(Some(name.clone()));
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
