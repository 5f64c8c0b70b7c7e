//! The handle to whoever runs k3s, and what can be asked of it.

use std::path::PathBuf;
use std::time::Duration;

use lkc_protocol::error::Refusal;
use lkc_protocol::message::{K3sConfigured, K3sRole};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::dropin::{Dropin, DropinError};
use super::process::{self, VersionError};
use super::unit::{self, SystemdError};
use super::{K3sPaths, Runner};
use crate::readiness::{K3sState, Observation};
use crate::steward::control_k3s;

/// Requests that wait for the task.
const QUEUE: usize = 8;

/// The handle to the task that keeps k3s running. Clones lead to the same task.
#[derive(Debug, Clone)]
pub struct K3s {
    requests: mpsc::Sender<Request>,
}

/// Why k3s does not run.
#[derive(Debug, Error)]
pub enum K3sError {
    /// Its configuration cannot be written.
    #[error("cannot configure k3s")]
    Configuration(#[from] DropinError),
    /// The program is not there, or is not one.
    #[error("cannot start k3s")]
    Version(#[from] VersionError),
    /// It did not start.
    #[error("cannot start {path}", path = path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It survives being killed, as in an uninterruptible system call.
    #[error("k3s (pid {pid}) does not end, though it was killed")]
    Unkillable {
        /// Its pid.
        pid: u32,
    },
    /// systemd does not do as it is asked.
    #[error(transparent)]
    Unit(#[from] SystemdError),
    /// The steward says so.
    #[error(transparent)]
    Steward(Refusal),
    /// There is nobody to run it.
    #[error("{why}")]
    Nobody {
        /// What is missing.
        why: String,
    },
    /// The agent is about to end.
    #[error("the agent is stopping")]
    Stopping,
}

/// What is asked of whoever runs k3s.
pub(crate) enum Request {
    Configure {
        dropin: Dropin,
        answer: oneshot::Sender<Result<K3sConfigured, K3sError>>,
    },
    Ensure {
        role: K3sRole,
        answer: oneshot::Sender<Result<bool, K3sError>>,
    },
    Stop {
        grace: Duration,
        answer: oneshot::Sender<Result<(), K3sError>>,
    },
    ApiReady,
}

impl K3s {
    /// The handle, and the task that the caller spawns and joins. The task finds a k3s that runs
    /// already, tells what happens to it as [`Observation`]s, and ends with the token; k3s itself
    /// goes on. It alone starts or stops k3s, or has it started or stopped.
    pub fn new(
        runner: Runner,
        paths: K3sPaths,
        observations: mpsc::Sender<Observation>,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (k3s, receiver) = Self::asking();
        let run = async move {
            match runner {
                Runner::Own { binary } => {
                    process::supervise(binary, paths, observations, cancel, receiver).await;
                }
                Runner::Unit(unit) => {
                    unit::supervise(unit, paths, observations, cancel, receiver).await;
                }
                Runner::Steward { steward, .. } => {
                    control_k3s(steward, receiver, cancel).await;
                }
                Runner::Nobody { why } => refuse_all(why, observations, cancel, receiver).await,
            }
        };
        (k3s, run)
    }

    /// The handle, and what is asked through it.
    pub(super) fn asking() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        (Self { requests }, receiver)
    }

    /// Writes the configuration and has k3s running with it.
    ///
    /// # Errors
    /// When the file cannot be written, and as for [`Self::ensure_running`].
    pub async fn configure(&self, dropin: Dropin) -> Result<K3sConfigured, K3sError> {
        self.ask(|answer| Request::Configure { dropin, answer })
            .await?
    }

    /// Has k3s running in this role: finds it, starts it, or starts it anew when its configuration
    /// is another one than it was started with. Returns when the process is there, which says
    /// nothing about its API; with systemd, when the start was asked for. True when it was started.
    ///
    /// # Errors
    /// When it cannot be started or an old one cannot be ended.
    pub async fn ensure_running(&self, role: K3sRole) -> Result<bool, K3sError> {
        self.ask(|answer| Request::Ensure { role, answer }).await?
    }

    /// Stops k3s and keeps it stopped: SIGTERM, and SIGKILL to its process group after the grace.
    ///
    /// # Errors
    /// When it does not end at all.
    pub async fn stop(&self, grace: Duration) -> Result<(), K3sError> {
        self.ask(|answer| Request::Stop { grace, answer }).await?
    }

    /// The API was ready: exits before now do not make a crash loop. Never waits; when the task is
    /// busy this is forgotten, and a longer run has the same effect.
    pub fn handle_api_ready(&self) {
        let _ = self.requests.try_send(Request::ApiReady);
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, K3sError> {
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(request(answer))
            .await
            .map_err(|_| K3sError::Stopping)?;
        answered.await.map_err(|_| K3sError::Stopping)
    }
}

/// Where nobody could run k3s every wish for it is refused, with the reason.
async fn refuse_all(
    why: String,
    observations: mpsc::Sender<Observation>,
    cancel: CancellationToken,
    mut requests: mpsc::Receiver<Request>,
) {
    let state = K3sState::Failed {
        error: why.clone(),
        tail: Vec::new(),
    };
    let _ = observations.send(Observation::K3s(state)).await;
    loop {
        let request = tokio::select! {
            () = cancel.cancelled() => return,
            request = requests.recv() => request,
        };
        let why = why.clone();
        match request {
            None => return,
            Some(Request::Configure { answer, .. }) => {
                let _ = answer.send(Err(K3sError::Nobody { why }));
            }
            Some(Request::Ensure { answer, .. }) => {
                let _ = answer.send(Err(K3sError::Nobody { why }));
            }
            Some(Request::Stop { answer, .. }) => {
                let _ = answer.send(Ok(()));
            }
            Some(Request::ApiReady) => {}
        }
    }
}
