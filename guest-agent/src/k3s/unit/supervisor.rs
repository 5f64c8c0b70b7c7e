//! The task that watches k3s as a unit of systemd.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lkc_protocol::message::K3sConfigured;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Unit;
use super::action::{Action, Job, action};
use super::status::{Load, Status};
use super::systemd::{Bus, Systemd, SystemdError, Word};
use super::verdict::{UnitWatch, Verdict};
use crate::k3s::K3sPaths;
use crate::k3s::dropin::{Dropin, DropinError};
use crate::k3s::handle::{K3sError, Request};
use crate::k3s::kept;
use crate::k3s::pidfd::Pidfd;
use crate::k3s::process::{Version, probe_version};
use crate::observe::describe;
use crate::readiness::{K3sState, MAX_TAIL_LINES, Observation};

/// The first pause until systemd is asked again that gave no answer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a process may take to go that was killed.
const KILLED: Duration = Duration::from_secs(2);

/// Watches the unit until the token is cancelled; k3s itself goes on.
pub(in crate::k3s) async fn supervise(
    unit: Unit,
    paths: K3sPaths,
    observations: mpsc::Sender<Observation>,
    cancel: CancellationToken,
    requests: mpsc::Receiver<Request>,
) {
    let systemd = Bus::new(&unit);
    let supervisor = Supervisor::new(systemd, unit, paths, observations, cancel);
    supervisor.run(requests).await;
}

struct Supervisor<S> {
    systemd: S,
    unit: Unit,
    paths: K3sPaths,
    observations: mpsc::Sender<Observation>,
    cancel: CancellationToken,
    watch: UnitWatch,
    /// The main process, while it runs.
    main: Option<Main>,
    /// The program that the unit starts.
    program: Option<PathBuf>,
    version: Option<Version>,
    told: Option<Verdict>,
    pause: Duration,
    /// When systemd is asked again; none while it says by itself what changes.
    ask_at: Option<Instant>,
}

struct Main {
    pid: u32,
    held: Pidfd,
}

enum Event {
    Request(Request),
    Ended,
    Word(Word),
    Timeout,
    Cancelled,
}

impl<S: Systemd> Supervisor<S> {
    fn new(
        systemd: S,
        unit: Unit,
        paths: K3sPaths,
        observations: mpsc::Sender<Observation>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            systemd,
            watch: UnitWatch::new(unit.to_string()),
            unit,
            paths,
            observations,
            cancel,
            main: None,
            program: None,
            version: None,
            told: None,
            pause: FIRST_PAUSE,
            ask_at: Some(Instant::now()),
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        loop {
            match self.next_event(&mut requests).await {
                Event::Request(request) => self.handle_request(request).await,
                Event::Ended => {
                    self.main = None;
                    self.look().await;
                }
                Event::Word(word) => {
                    if let Word::JobOver(result) = word {
                        self.watch.handle_job(&result);
                    }
                    self.look().await;
                }
                Event::Timeout => self.handle_timeout().await,
                Event::Cancelled => return,
            }
        }
    }

    async fn next_event(&mut self, requests: &mut mpsc::Receiver<Request>) -> Event {
        let due = [self.ask_at, self.watch.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        let main = self.main.as_ref();
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Event::Cancelled,
            _ = async { match main { Some(main) => main.held.ended().await, None => std::future::pending().await } } => Event::Ended,
            () = async { match due { Some(at) => tokio::time::sleep_until(at.into()).await, None => std::future::pending().await } } => Event::Timeout,
            request = requests.recv() => request.map_or(Event::Cancelled, Event::Request),
            word = self.systemd.word() => Event::Word(word),
        }
    }

    async fn handle_request(&mut self, request: Request) {
        match request {
            Request::Configure { dropin, answer } => {
                let result = self.configure(&dropin).await;
                let _ = answer.send(result);
            }
            Request::Ensure { answer, .. } => {
                let result = self.ensure(None).await;
                let _ = answer.send(result.map(|configured| configured.started));
            }
            Request::Stop { grace, answer } => {
                let result = self.stop(grace).await;
                let _ = answer.send(result);
            }
            Request::ApiReady => {
                if self.watch.handle_api_ready() {
                    self.look().await;
                }
            }
        }
    }

    async fn handle_timeout(&mut self) {
        let now = Instant::now();
        let is_forgiven = self.watch.handle_timeout(now);
        if is_forgiven || self.ask_at.is_some_and(|at| at <= now) {
            self.look().await;
        }
    }

    async fn configure(&mut self, dropin: &Dropin) -> Result<K3sConfigured, K3sError> {
        self.ensure(Some(dropin)).await
    }

    /// Has the unit running with its configuration, which is written first if there is one.
    async fn ensure(&mut self, dropin: Option<&Dropin>) -> Result<K3sConfigured, K3sError> {
        // Before the file is written: a unit that waits for it starts by itself, and well.
        let before = self.systemd.status().await?;
        let due_path = self.due_path();
        let mut is_due = due_path.exists();
        let mut changed = false;
        if let Some(dropin) = dropin {
            // Stays there when the agent ends between the writing and the restart.
            mark_due(&due_path)?;
            let written = dropin.write(&self.paths);
            changed = *written.as_ref().unwrap_or(&false);
            is_due |= changed;
            if !is_due {
                forget_due(&due_path);
            }
            written?;
            kept::keep(&self.paths);
        }
        let action = action(&before, is_due);
        tracing::debug!(unit = %self.unit, ?action, changed, "k3s is configured");
        if action != Action::Nothing {
            self.watch.handle_reset();
            self.tell(Verdict::Starting).await;
        }
        let mut done = Ok(());
        for &job in action.jobs() {
            if done.is_ok() {
                done = self.systemd.begin(job).await;
            }
        }
        self.look().await;
        done?;
        forget_due(&due_path);
        Ok(K3sConfigured {
            changed,
            started: action != Action::Nothing,
        })
    }

    /// systemd sends SIGTERM and has a time limit of its own; ours ends in SIGKILL.
    async fn stop(&mut self, grace: Duration) -> Result<(), K3sError> {
        let deadline = Instant::now() + grace;
        if self.systemd.status().await?.load == Load::NotFound {
            return Ok(());
        }
        self.systemd.begin(Job::Stop).await?;
        self.watch.handle_reset();
        if let Some(main) = self.main.take() {
            let ended = tokio::time::timeout_at(deadline.into(), main.held.ended()).await;
            if ended.is_err() {
                tracing::warn!(unit = %self.unit, "k3s does not end in time, killing it");
                self.systemd.begin(Job::Kill).await?;
                let pid = main.pid;
                tokio::time::timeout(KILLED, main.held.ended())
                    .await
                    .map_err(|_| K3sError::Unkillable { pid })
                    .map(drop)?;
            }
        }
        self.look().await;
        Ok(())
    }

    /// Asks systemd and tells what is new.
    async fn look(&mut self) {
        let verdict = match self.ask().await {
            Ok(status) => {
                if status.program.is_some() {
                    self.program.clone_from(&status.program);
                }
                self.pause = FIRST_PAUSE;
                self.ask_at = None;
                self.watch.handle_status(&status, Instant::now())
            }
            Err(error) => {
                self.ask_at = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
                Verdict::Failed {
                    error: describe(&error),
                    ended: false,
                }
            }
        };
        if self.told.as_ref() != Some(&verdict) {
            self.tell(verdict).await;
        }
    }

    /// Asks, and holds the main process if there is one.
    async fn ask(&mut self) -> Result<Status, SystemdError> {
        let status = self.systemd.status().await?;
        let known = self.main.as_ref().map(|main| main.pid);
        if status.main_pid == known {
            return Ok(status);
        }
        self.main = None;
        self.version = None;
        let Some(pid) = status.main_pid else {
            return Ok(status);
        };
        let held = match Pidfd::open(pid) {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(%error, pid, "cannot watch the process of k3s");
                None
            }
        };
        // The pid may have become another process' between the answer and the descriptor.
        let again = self.systemd.status().await?;
        if again.main_pid == Some(pid) {
            self.main = held.map(|held| Main { pid, held });
            self.version = self.version_of(pid, again.program.as_deref()).await;
        }
        Ok(again)
    }

    /// What runs says more than what would be started now; but reading it needs privileges that an
    /// agent may lack, and a script has its interpreter there.
    async fn version_of(&self, pid: u32, program: Option<&Path>) -> Option<Version> {
        let running = PathBuf::from(format!("/proc/{pid}/exe"));
        for program in [Some(running.as_path()), program].into_iter().flatten() {
            match probe_version(program).await {
                Ok(version) if version.text.starts_with("k3s") => return Some(version),
                Ok(version) => tracing::debug!(version.text, ?program, "is not k3s"),
                Err(error) => {
                    tracing::debug!(error = %describe(&error), "cannot tell the version of k3s");
                }
            }
        }
        None
    }

    async fn tell(&mut self, verdict: Verdict) {
        tracing::info!(unit = %self.unit, ?verdict, "k3s");
        let state = self.state(&verdict).await;
        self.told = Some(verdict);
        let _ = self.observations.send(Observation::K3s(state)).await;
    }

    async fn state(&self, verdict: &Verdict) -> K3sState {
        match verdict.clone() {
            Verdict::Running { pid } => {
                let version = self.version.as_ref();
                K3sState::Running {
                    pid,
                    version: version
                        .map(|version| version.text.clone())
                        .unwrap_or_default(),
                    simulated: version.is_some_and(|version| version.simulated),
                    restarts: self.watch.restarts(),
                }
            }
            Verdict::Starting => K3sState::Starting,
            Verdict::Absent { detail } => K3sState::Absent { detail },
            Verdict::Exited { status, restarts } => K3sState::Exited {
                status,
                restarts,
                tail: self.log_tail().await,
            },
            Verdict::CrashLoop { status, restarts } => K3sState::CrashLoop {
                status,
                restarts,
                tail: self.log_tail().await,
            },
            Verdict::Failed { error, ended } => {
                let tail = if ended {
                    self.log_tail().await
                } else {
                    Vec::new()
                };
                K3sState::Failed { error, tail }
            }
        }
    }

    async fn log_tail(&self) -> Vec<String> {
        match self.unit.log_tail(MAX_TAIL_LINES).await {
            Ok(tail) => tail,
            Err(error) => vec![describe(&error)],
        }
    }

    fn due_path(&self) -> PathBuf {
        self.paths.run_dir.join("k3s-restart-due")
    }
}

fn mark_due(path: &Path) -> Result<(), K3sError> {
    let failed = |source| DropinError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    std::fs::write(path, "").map_err(failed)?;
    Ok(())
}

fn forget_due(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, "k3s may be restarted once more than needed");
    }
}

#[cfg(test)]
mod tests;
