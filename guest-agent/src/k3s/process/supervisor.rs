//! The task that keeps k3s running, and the handle to it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lkc_protocol::message::{K3sConfigured, K3sRole};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::child::K3sChild;
use super::pid_file::{self, PidFile};
use super::policy::RestartPolicy;
use super::version::{Version, VersionError, probe_version};
use crate::k3s::K3sPaths;
use crate::k3s::dropin::{self, Dropin, DropinError};
use crate::logs;
use crate::observe::describe;
use crate::readiness::{K3sState, MAX_TAIL_LINES, Observation, one_line};

/// How long a restart for a changed configuration waits for the old process before it kills it.
const RESTART_GRACE: Duration = Duration::from_secs(20);

/// How long a killed process may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

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
    /// The agent is about to end.
    #[error("the agent is stopping")]
    Stopping,
}

enum Request {
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
    /// goes on.
    pub fn new(
        paths: K3sPaths,
        observations: mpsc::Sender<Observation>,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, receiver) = mpsc::channel(QUEUE);
        let supervisor = Supervisor {
            paths,
            observations,
            cancel,
            policy: RestartPolicy::default(),
            version: None,
            wanted: None,
            configuration: 0,
            child: None,
            restart_at: None,
        };
        (Self { requests }, supervisor.run(receiver))
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
    /// nothing about its API. True when it was started.
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

struct Supervisor {
    paths: K3sPaths,
    observations: mpsc::Sender<Observation>,
    cancel: CancellationToken,
    policy: RestartPolicy,
    version: Option<Version>,
    /// The role that k3s is to run in, none when it is to be stopped.
    wanted: Option<K3sRole>,
    /// Fingerprint of the configuration that the child was started with.
    configuration: u64,
    child: Option<K3sChild>,
    restart_at: Option<Instant>,
}

enum Event {
    Request(Request),
    Ended(String),
    Timeout,
    Cancelled,
}

impl Supervisor {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        self.look_for_running().await;
        loop {
            match self.next_event(&mut requests).await {
                Event::Request(request) => self.handle_request(request).await,
                Event::Ended(status) => self.handle_ended(&status).await,
                Event::Timeout => self.handle_timeout().await,
                Event::Cancelled => return,
            }
        }
    }

    async fn next_event(&mut self, requests: &mut mpsc::Receiver<Request>) -> Event {
        let due = [self.restart_at, self.policy.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        let child = self.child.as_mut();
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Event::Cancelled,
            status = async { match child { Some(child) => child.ended().await, None => std::future::pending().await } } => Event::Ended(status),
            request = requests.recv() => request.map_or(Event::Cancelled, Event::Request),
            () = async { match due { Some(at) => tokio::time::sleep_until(at.into()).await, None => std::future::pending().await } } => Event::Timeout,
        }
    }

    async fn look_for_running(&mut self) {
        let Some(file) = PidFile::read_alive(&self.paths.pid_path()) else {
            self.tell(K3sState::Absent).await;
            return;
        };
        match K3sChild::adopt(file.process) {
            Ok(Some(child)) => {
                tracing::info!(pid = child.id.pid, role = %file.role, "found k3s running");
                self.wanted = Some(file.role);
                self.configuration = file.configuration;
                self.child = Some(child);
                if let Err(error) = self.know_version().await {
                    tracing::warn!(error = %describe(&error), "cannot tell the version of k3s");
                }
                self.policy.handle_started(Instant::now());
                self.tell_running().await;
            }
            Ok(None) => self.tell(K3sState::Absent).await,
            Err(error) => {
                tracing::warn!(%error, pid = file.process.pid, "cannot watch the k3s that runs");
                self.tell(K3sState::Absent).await;
            }
        }
    }

    async fn handle_request(&mut self, request: Request) {
        match request {
            Request::Configure { dropin, answer } => {
                let result = self.configure(&dropin).await;
                let _ = answer.send(result);
            }
            Request::Ensure { role, answer } => {
                let result = self.ensure(role).await;
                let _ = answer.send(result);
            }
            Request::Stop { grace, answer } => {
                self.wanted = None;
                self.restart_at = None;
                let result = self.end_child(grace).await;
                self.policy.handle_reset();
                self.tell(K3sState::Absent).await;
                let _ = answer.send(result);
            }
            Request::ApiReady => {
                if self.child.is_some() {
                    let was_looping = self.policy.in_crash_loop();
                    self.policy.handle_api_ready();
                    if was_looping {
                        self.tell_running().await;
                    }
                }
            }
        }
    }

    async fn configure(&mut self, dropin: &Dropin) -> Result<K3sConfigured, K3sError> {
        let changed = dropin.write(&self.paths)?;
        let started = self.ensure(dropin.role()).await?;
        Ok(K3sConfigured { changed, started })
    }

    async fn ensure(&mut self, role: K3sRole) -> Result<bool, K3sError> {
        let is_current = self.configuration == dropin::fingerprint(&self.paths);
        if self.child.is_some() && self.wanted == Some(role) && is_current {
            return Ok(false);
        }
        self.tell(K3sState::Starting).await;
        self.wanted = Some(role);
        self.restart_at = None;
        self.policy.handle_reset();
        self.version = None;
        let started = async {
            self.end_child(RESTART_GRACE).await?;
            self.start(role).await
        };
        match started.await {
            Ok(()) => Ok(true),
            Err(error) => {
                self.wanted = None;
                self.tell(K3sState::Failed {
                    error: describe(&error),
                })
                .await;
                Err(error)
            }
        }
    }

    async fn start(&mut self, role: K3sRole) -> Result<(), K3sError> {
        self.know_version().await?;
        self.configuration = dropin::fingerprint(&self.paths);
        let spawn = |source| K3sError::Spawn {
            path: self.paths.binary.clone(),
            source,
        };
        let child = K3sChild::spawn(&self.paths, role).map_err(spawn)?;
        tracing::info!(pid = child.id.pid, %role, "started k3s");
        let file = PidFile {
            process: child.id,
            role,
            configuration: self.configuration,
        };
        if let Err(error) = file.write(&self.paths.pid_path()) {
            tracing::warn!(%error, "cannot write the pid file, the next agent will not find k3s");
        }
        self.child = Some(child);
        self.policy.handle_started(Instant::now());
        if !self.policy.in_crash_loop() {
            self.tell_running().await;
        }
        Ok(())
    }

    async fn handle_ended(&mut self, status: &str) {
        let Some(child) = self.child.take() else {
            return;
        };
        self.forget_pid();
        let exit = self.policy.handle_exited(Instant::now());
        self.restart_at = self.wanted.map(|_| exit.restart_at);
        tracing::warn!(
            pid = child.id.pid,
            status,
            crash_loop = exit.crash_loop,
            "k3s ended"
        );
        let status = one_line(status);
        let restarts = self.policy.restarts();
        let tail = self.log_tail();
        self.tell(if exit.crash_loop {
            K3sState::CrashLoop {
                status,
                restarts,
                tail,
            }
        } else {
            K3sState::Exited {
                status,
                restarts,
                tail,
            }
        })
        .await;
    }

    async fn handle_timeout(&mut self) {
        let now = Instant::now();
        let was_looping = self.policy.in_crash_loop();
        self.policy.handle_timeout(now);
        if was_looping && !self.policy.in_crash_loop() {
            self.tell_running().await;
        }
        if self.restart_at.is_some_and(|at| at <= now)
            && let Some(role) = self.wanted
        {
            self.restart_at = None;
            if let Err(error) = self.start(role).await {
                let exit = self.policy.handle_exited(now);
                self.restart_at = Some(exit.restart_at);
                self.tell(K3sState::Failed {
                    error: describe(&error),
                })
                .await;
            }
        }
    }

    async fn end_child(&mut self, grace: Duration) -> Result<(), K3sError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.terminate();
        if tokio::time::timeout(grace, child.ended()).await.is_err() {
            tracing::warn!(pid = child.id.pid, "k3s does not end in time, killing it");
            child.kill();
            if tokio::time::timeout(KILL_DEADLINE, child.ended())
                .await
                .is_err()
            {
                let pid = child.id.pid;
                self.child = Some(child);
                return Err(K3sError::Unkillable { pid });
            }
        }
        self.forget_pid();
        Ok(())
    }

    async fn know_version(&mut self) -> Result<(), K3sError> {
        if self.version.is_none() {
            self.version = Some(probe_version(&self.paths.binary).await?);
        }
        Ok(())
    }

    fn forget_pid(&self) {
        if let Err(error) = pid_file::remove(&self.paths.pid_path()) {
            tracing::warn!(%error, "cannot remove the pid file of k3s");
        }
    }

    fn log_tail(&self) -> Vec<String> {
        logs::tail(&self.paths.log_path, MAX_TAIL_LINES).unwrap_or_default()
    }

    async fn tell_running(&self) {
        let Some(child) = &self.child else { return };
        let version = self.version.as_ref();
        self.tell(K3sState::Running {
            pid: child.id.pid,
            version: version
                .map(|version| version.text.clone())
                .unwrap_or_default(),
            simulated: version.is_some_and(|version| version.simulated),
            restarts: self.policy.restarts(),
        })
        .await;
    }

    async fn tell(&self, state: K3sState) {
        let _ = self.observations.send(Observation::K3s(state)).await;
    }
}

#[cfg(test)]
mod tests;
