//! The cluster's API as this node sees it: `/readyz`, the node's object, the workloads of kube-system.
//!
//! ```text
//! credentials → client → /readyz until ok → watches → (one breaks) → /readyz …
//! ```

mod client;
mod node;
mod readyz;
mod vouched;
mod workloads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use kube::runtime::watcher;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use client::request_problem;
pub use client::{ClientError, connect};

use super::backoff::Backoff;
use super::{KubeconfigState, ProcessRun, describe};
use crate::readiness::{ApiState, Observation, one_line};
use readyz::Readyz;
use vouched::Vouched;

/// Seconds after which a watch is asked for anew; a server that is gone without a word is noticed
/// that late.
pub(super) const WATCH_SECONDS: u32 = 30;

/// Watches that lasted this long broke for a reason of their own; a shorter life means that the
/// API is not well, and the next attempt waits.
const GOOD_WATCH: Duration = Duration::from_secs(5);

/// A client of the API that was last seen ready, none while it is not.
pub type ClientState = Option<Client>;

/// What [`follow_api`] needs.
pub struct ApiInputs {
    /// The credentials.
    pub kubeconfig: watch::Receiver<KubeconfigState>,
    /// Name of the node's object, none while it is not known.
    pub node_name: watch::Receiver<Option<String>>,
    /// The run of the k3s process: what was asked of another one does not count.
    pub process: watch::Receiver<ProcessRun>,
    /// Asks for another look at the kubeconfig.
    pub reread: Arc<Notify>,
}

/// Observes the API until the token is cancelled.
pub async fn follow_api(
    inputs: ApiInputs,
    observations: mpsc::Sender<Observation>,
    clients: watch::Sender<ClientState>,
    cancel: CancellationToken,
) {
    let mut follower = Follower {
        inputs,
        observations,
        clients,
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = follower.run() => {}
    }
    follower.withdraw_client();
}

struct Follower {
    inputs: ApiInputs,
    observations: mpsc::Sender<Observation>,
    clients: watch::Sender<ClientState>,
}

impl Follower {
    /// Begins anew with every change of what the answers depend on.
    async fn run(&mut self) {
        let mut of_run = ProcessRun::default();
        let mut vouched = Vouched::new(None);
        loop {
            let kubeconfig = self.inputs.kubeconfig.borrow_and_update().clone();
            let node_name = self.inputs.node_name.borrow_and_update().clone();
            let run = *self.inputs.process.borrow_and_update();
            if run != of_run {
                (of_run, vouched) = (run, Vouched::new(run.started));
            }
            let (mut kubeconfigs, mut names, mut processes) = (
                self.inputs.kubeconfig.clone(),
                self.inputs.node_name.clone(),
                self.inputs.process.clone(),
            );
            tokio::select! {
                changed = kubeconfigs.changed() => if changed.is_err() { return },
                changed = names.changed() => if changed.is_err() { return },
                changed = processes.changed() => if changed.is_err() { return },
                () = self.follow(&kubeconfig, node_name.as_deref(), &mut vouched) => {}
            }
        }
    }

    /// Observes with these credentials, without end.
    async fn follow(
        &self,
        kubeconfig: &KubeconfigState,
        node_name: Option<&str>,
        vouched: &mut Vouched,
    ) {
        let client = match kubeconfig {
            KubeconfigState::Absent => Err("waiting for k3s to write its kubeconfig".to_owned()),
            KubeconfigState::Unusable { error } => Err(error.clone()),
            KubeconfigState::Values(values) => connect(values).map_err(|error| describe(&error)),
        };
        let client = match client {
            Ok(client) => client,
            Err(why) => {
                self.withdraw_client();
                self.tell(Observation::Api(ApiState::Unreachable { why }))
                    .await;
                return std::future::pending().await;
            }
        };
        let mut pause = Backoff::new();
        loop {
            self.wait_until_ready(&client).await;
            self.tell(Observation::Api(ApiState::Ready)).await;
            self.clients.send_replace(Some(client.clone()));
            let begun = Instant::now();
            let why = self.watch_objects(&client, node_name, vouched).await;
            tracing::debug!(why, "a watch of the API broke");
            if begun.elapsed() >= GOOD_WATCH {
                pause.reset();
            } else {
                tokio::time::sleep(pause.next()).await;
            }
        }
    }

    async fn wait_until_ready(&self, client: &Client) {
        let mut pause = Backoff::new();
        loop {
            let state = match readyz::ask(client).await {
                Readyz::Ok => return,
                Readyz::NotReady { failed } => ApiState::NotReady { failed },
                Readyz::Refused => {
                    let why = "nothing listens on the port of the API yet".to_owned();
                    ApiState::Unreachable { why }
                }
                Readyz::Unauthorized => {
                    self.inputs.reread.notify_one();
                    let why =
                        "/readyz does not accept the credentials of k3s.yaml (401)".to_owned();
                    ApiState::Unreachable { why }
                }
                Readyz::Unreachable { why } => {
                    self.inputs.reread.notify_one();
                    ApiState::Unreachable { why }
                }
            };
            self.withdraw_client();
            self.tell(Observation::Api(state)).await;
            tokio::time::sleep(pause.next()).await;
        }
    }

    /// Watches until the first watch breaks, and says why it did.
    async fn watch_objects(
        &self,
        client: &Client,
        node_name: Option<&str>,
        vouched: &mut Vouched,
    ) -> String {
        let node = async {
            match node_name {
                Some(name) => node::follow(client.clone(), name, vouched, &self.observations).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            error = node => error,
            error = workloads::follow(client.clone(), &self.observations) => error,
        }
    }

    /// Tells those who use the client that the API is away, once.
    fn withdraw_client(&self) {
        self.clients
            .send_if_modified(|client| client.take().is_some());
    }

    async fn tell(&self, observation: Observation) {
        let _ = self.observations.send(observation).await;
    }
}

/// Why a watch broke, in a line.
pub(super) fn watch_problem(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => request_problem(error),
        watcher::Error::WatchError(status) => one_line(&status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Whether the watcher mends the error by listing again at once: its place in the history is gone.
fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// List, then watch: servers before 1.32 do not stream lists unless told to.
fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}
