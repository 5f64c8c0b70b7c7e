//! The observer: every task that observes k3s, and the ladder that they feed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use lkc_protocol::error::{Refusal, RefusalCode};
use lkc_protocol::message::{
    ConfigureK3s, K3sConfigured, K3sRole, LogLine, ObjectStatus, Snapshot, WatchObject,
};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::api::{ApiInputs, ClientState, follow_api};
use super::describe;
use super::kubeconfig::{KubeconfigState, follow_kubeconfig};
use super::object::{WatchObjectError, watch_object};
use super::process_run::{ProcessRun, started_at};
use crate::k3s::dropin::{self, Dropin, DropinError};
use crate::k3s::{K3s, K3sError, K3sPaths, Runner, unit::Unit};
use crate::logs;
use crate::readiness::{ApiState, K3sState, Ladder, LadderConfig, Observation, difference};
use crate::steward::Told;

/// Observations that wait to be folded.
const QUEUE: usize = 64;

/// The handle to everything that is observed. Clones lead to the same.
#[derive(Clone)]
pub struct Observer {
    runner: Arc<Runner>,
    paths: Arc<K3sPaths>,
    k3s: K3s,
    observations: mpsc::Sender<Observation>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    kubeconfig: watch::Receiver<KubeconfigState>,
    clients: watch::Receiver<ClientState>,
    node_name: watch::Sender<Option<String>>,
}

/// The tasks behind an [`Observer`]. They end when their token is cancelled; k3s goes on.
#[derive(Debug)]
pub struct ObserverTasks(JoinSet<()>);

/// Why k3s is not configured.
#[derive(Debug, Error)]
pub enum ConfigureError {
    /// What was asked for cannot be.
    #[error(transparent)]
    Configuration(#[from] DropinError),
    /// It could not be done.
    #[error(transparent)]
    K3s(#[from] K3sError),
}

impl From<ConfigureError> for Refusal {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Configuration(error) => {
                Self::new(RefusalCode::Invalid, describe(&error))
            }
            ConfigureError::K3s(K3sError::Steward(refusal)) => refusal,
            ConfigureError::K3s(error) => Self::new(RefusalCode::Failed, describe(&error)),
        }
    }
}

impl Observer {
    /// Begins to observe: finds a k3s that runs, reads its kubeconfig if there is one, and goes on
    /// until the token is cancelled. Starts nothing by itself.
    #[must_use]
    pub fn start(
        runner: Runner,
        paths: K3sPaths,
        cancel: &CancellationToken,
    ) -> (Self, ObserverTasks) {
        let written = dropin::written(&paths);
        let config = match &written {
            Some(written) => LadderConfig {
                role: written.role,
                node_name: written.node_name.clone(),
            },
            None => LadderConfig {
                role: K3sRole::Server,
                node_name: String::new(),
            },
        };
        let ladder = Ladder::new(config, Instant::now());
        let (observations, observed) = mpsc::channel(QUEUE);
        let (snapshot_sender, snapshots) = watch::channel(ladder.snapshot());
        let (kubeconfig_sender, kubeconfig) = watch::channel(KubeconfigState::Absent);
        let (client_sender, clients) = watch::channel(None);
        let (process_sender, process) = watch::channel(ProcessRun::default());
        let (node_name, node_names) = watch::channel(written.map(|written| written.node_name));
        let reread = Arc::new(Notify::new());
        let (k3s, supervise) = K3s::new(
            runner.clone(),
            paths.clone(),
            observations.clone(),
            cancel.clone(),
        );

        let mut tasks = JoinSet::new();
        tasks.spawn(supervise);
        match &runner {
            Runner::Steward { steward, .. } => {
                let told = Told {
                    observations: observations.clone(),
                    kubeconfig: kubeconfig_sender,
                    node_name: node_name.clone(),
                    reread: Arc::clone(&reread),
                    kubeconfig_path: paths.kubeconfig_path(),
                };
                tasks.spawn(steward.clone().follow(told, cancel.clone()));
            }
            Runner::Own { .. } | Runner::Unit(_) | Runner::Nobody { .. } => {
                tasks.spawn(follow_kubeconfig(
                    paths.kubeconfig_path(),
                    kubeconfig_sender,
                    Arc::clone(&reread),
                    cancel.clone(),
                ));
            }
        }
        let inputs = ApiInputs {
            kubeconfig: kubeconfig.clone(),
            node_name: node_names,
            process,
            reread,
        };
        tasks.spawn(follow_api(
            inputs,
            observations.clone(),
            client_sender,
            cancel.clone(),
        ));
        let fold = Fold {
            ladder,
            started: None,
            running: None,
            snapshots: snapshot_sender,
            process: process_sender,
            k3s: k3s.clone(),
        };
        tasks.spawn(fold.run(observed, cancel.clone()));

        let observer = Self {
            runner: Arc::new(runner),
            paths: Arc::new(paths),
            k3s,
            observations,
            snapshots,
            kubeconfig,
            clients,
            node_name,
        };
        (observer, ObserverTasks(tasks))
    }

    /// The ladder, now and with every change.
    #[must_use]
    pub fn snapshots(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// The credentials, now and with every change.
    #[must_use]
    pub fn kubeconfig(&self) -> watch::Receiver<KubeconfigState> {
        self.kubeconfig.clone()
    }

    /// Where the ladder hears of what others see, as of the network.
    #[must_use]
    pub fn observations(&self) -> mpsc::Sender<Observation> {
        self.observations.clone()
    }

    /// Configures k3s and has it running; a restart only when it runs with something else.
    ///
    /// # Errors
    /// When the configuration is not acceptable, or k3s cannot be started.
    pub async fn configure_k3s(
        &self,
        request: &ConfigureK3s,
    ) -> Result<K3sConfigured, ConfigureError> {
        let dropin = Dropin::new(request)?;
        self.know_node(request.role, &request.node_name).await;
        Ok(self.k3s.configure(dropin).await?)
    }

    /// Has k3s running as it was configured last, as after a reboot. False when it runs already or
    /// never was configured.
    ///
    /// # Errors
    /// When k3s cannot be started.
    pub async fn resume_k3s(&self) -> Result<bool, K3sError> {
        match dropin::written(&self.paths) {
            Some(written) => self.k3s.ensure_running(written.role).await,
            None => Ok(false),
        }
    }

    /// Stops k3s: SIGTERM, and SIGKILL after the grace.
    ///
    /// # Errors
    /// When it does not end at all.
    pub async fn stop_k3s(&self, grace: Duration) -> Result<(), K3sError> {
        self.k3s.stop(grace).await
    }

    /// Where objects stand, now and with every change, until the stream is dropped.
    ///
    /// # Errors
    /// A request that no API could answer ends the stream.
    pub fn watch_object(
        &self,
        request: WatchObject,
    ) -> impl Stream<Item = Result<ObjectStatus, WatchObjectError>> + Send + use<> {
        watch_object(self.clients.clone(), request)
    }

    /// What k3s said last and, when following, what it says, until the stream is dropped: from its
    /// log file where the agent runs it, from the journal where systemd does.
    #[must_use]
    pub fn k3s_log(
        &self,
        tail: usize,
        follow: bool,
    ) -> BoxStream<'static, std::io::Result<LogLine>> {
        match self.k3s_unit() {
            Some(unit) => unit.clone().log(tail, follow).boxed(),
            None => logs::lines(self.k3s_log_path(), tail, follow).boxed(),
        }
    }

    /// The unit in whose journal k3s' log is, if it is in one.
    pub(crate) fn k3s_unit(&self) -> Option<&Unit> {
        match &*self.runner {
            Runner::Unit(unit) | Runner::Steward { unit, .. } => Some(unit),
            Runner::Own { .. } | Runner::Nobody { .. } => None,
        }
    }

    /// The file with k3s' log where that is in no journal.
    pub(crate) fn k3s_log_path(&self) -> PathBuf {
        self.paths.log_path.clone()
    }

    /// Whether k3s is the agent's own process, which ends with the agent when that is asked to end.
    #[must_use]
    pub fn owns_k3s(&self) -> bool {
        matches!(&*self.runner, Runner::Own { .. })
    }

    async fn know_node(&self, role: K3sRole, node_name: &str) {
        let config = LadderConfig {
            role,
            node_name: node_name.to_owned(),
        };
        let _ = self
            .observations
            .send(Observation::Configured(config))
            .await;
        self.node_name.send_if_modified(|known| {
            let differs = known.as_deref() != Some(node_name);
            if differs {
                *known = Some(node_name.to_owned());
            }
            differs
        });
    }
}

impl ObserverTasks {
    /// Waits until every task has ended, after the token was cancelled. True when all ended well.
    pub async fn join(mut self) -> bool {
        let mut well = true;
        while let Some(ended) = self.0.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the observer ended badly");
                well = false;
            }
        }
        well
    }

    /// Waits for a task that ends before it was asked to, which is a defect. Cancel safe.
    pub async fn failed(&mut self) -> String {
        match self.0.join_next().await {
            Some(Err(error)) => error.to_string(),
            Some(Ok(())) => "a task of the observer ended early".to_owned(),
            None => "the observer has ended".to_owned(),
        }
    }
}

/// The task that folds observations into the ladder.
struct Fold {
    ladder: Ladder,
    /// When the next run was started, if somebody has said so.
    started: Option<SystemTime>,
    /// The process of the run that began last, until it has ended.
    running: Option<u32>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    process: watch::Sender<ProcessRun>,
    k3s: K3s,
}

impl Fold {
    async fn run(mut self, mut observed: mpsc::Receiver<Observation>, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                observation = observed.recv() => match observation {
                    Some(observation) => self.handle(observation),
                    None => return,
                },
            }
        }
    }

    fn handle(&mut self, observation: Observation) {
        match &observation {
            Observation::Started(started) => self.started = *started,
            Observation::K3s(K3sState::Running { pid, .. }) => {
                let started = self.started.take();
                // Whoever comes to tell of it later tells of the same run.
                if self.running.replace(*pid) != Some(*pid) {
                    self.begin_run(started.or_else(|| started_at(*pid)));
                }
            }
            Observation::K3s(K3sState::Exited { .. } | K3sState::CrashLoop { .. }) => {
                self.running = None;
                self.begin_run(None);
            }
            Observation::K3s(_) => self.running = None,
            Observation::Api(ApiState::Ready) => self.k3s.handle_api_ready(),
            _ => {}
        }
        if self.ladder.handle(observation, Instant::now()) {
            let snapshot = self.ladder.snapshot();
            let before = self.snapshots.send_replace(Arc::clone(&snapshot));
            for rung in difference(&before, &snapshot).rungs {
                tracing::debug!(rung = %rung.rung, state = ?rung.state, rung.detail, "rung");
            }
        }
    }

    fn begin_run(&self, started: Option<SystemTime>) {
        self.process.send_modify(|run| {
            let count = run.count + 1;
            *run = ProcessRun { count, started };
        });
    }
}
