//! The task that keeps k3s running.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lkc_protocol::message::{K3sConfigured, K3sRole};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::child::K3sChild;
use super::pid_file::{self, PidFile};
use super::policy::RestartPolicy;
use super::version::{Version, probe_version};
use crate::k3s::K3sPaths;
use crate::k3s::dropin::{self, Dropin};
use crate::k3s::handle::{K3sError, Request};
use crate::logs;
use crate::observe::describe;
use crate::readiness::{K3sState, MAX_TAIL_LINES, Observation, one_line};

/// How long a restart for a changed configuration waits for the old process before it kills it.
const RESTART_GRACE: Duration = Duration::from_secs(20);

/// How long a killed process may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(5);

/// Keeps k3s running until the token is cancelled; k3s itself goes on.
pub(in crate::k3s) async fn supervise(
    binary: PathBuf,
    paths: K3sPaths,
    observations: mpsc::Sender<Observation>,
    cancel: CancellationToken,
    requests: mpsc::Receiver<Request>,
) {
    let supervisor = Supervisor {
        binary,
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
    supervisor.run(requests).await;
}

struct Supervisor {
    binary: PathBuf,
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
            self.tell_absent().await;
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
            Ok(None) => self.tell_absent().await,
            Err(error) => {
                tracing::warn!(%error, pid = file.process.pid, "cannot watch the k3s that runs");
                self.tell_absent().await;
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
                self.tell_absent().await;
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
                    tail: Vec::new(),
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
            path: self.binary.clone(),
            source,
        };
        let child = K3sChild::spawn(&self.binary, &self.paths, role).map_err(spawn)?;
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
                    tail: Vec::new(),
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
            self.version = Some(probe_version(&self.binary).await?);
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

    async fn tell_absent(&self) {
        let detail = "not started".to_owned();
        self.tell(K3sState::Absent { detail }).await;
    }

    async fn tell(&self, state: K3sState) {
        let _ = self.observations.send(Observation::K3s(state)).await;
    }
}

#[cfg(test)]
mod tests;
