//! The sandbox: a machine made of Linux namespaces, with its own processes, mounts, hostname and
//! network, that runs the host's programs. No root is needed where the kernel allows user
//! namespaces.
//!
//! Three programs make one: the daemon starts [`enter_main`], which enters the namespaces, starts
//! [`init_main`] as their first process and ends; that one builds the inside and keeps the agent.
//! The daemon holds nothing but a process descriptor, so the machine does not notice when it dies.
//!
//! Nothing leads from the sandbox's network to any other: a real k3s needs its images preloaded. As
//! root the sandbox separates clusters from each other; it is no wall against hostile workloads,
//! which have the rights of a privileged container.

mod cgroup;
mod directories;
mod enter;
mod init;
mod interface;
mod launch;
mod probe;
mod report;
mod root;
mod supervisor;
#[cfg(test)]
mod tests;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::process::Signal;
use tokio::time::timeout;

use self::report::Record;
use super::directories::{Lock, make_private, remove};
use super::process::Process;
use super::{
    AGENT_SOCKET, CONSOLE_FILE, EXIT_FILE, MachineError, MachineExit, MachineSpec, record,
};

pub use enter::enter_main;
pub use init::init_main;
pub use probe::probe;
pub use report::SandboxMode;

/// The hidden command that [`enter_main`] is.
pub const ENTER_COMMAND: &str = "sandbox-enter";

/// The hidden command that [`init_main`] is.
pub const INIT_COMMAND: &str = "sandbox-init";

const PROBE_OPTION: &str = "--probe";

/// Tells `sandbox-init` that it is in a control group of its own.
const OWN_GROUP_OPTION: &str = "--own-cgroup";

/// This very program, also after its file was replaced by a newer one.
const SELF: &str = "/proc/self/exe";

/// Of the JSON form; room for keys and a configuration, not for data.
const MAX_SPEC_BYTES: u64 = 4 * 1024 * 1024;

const MAX_REPORT_BYTES: u64 = 64 * 1024;

/// Names in the state directory.
const MACHINE_ID_FILE: &str = "machine-id";
const ROOT_DIR: &str = "root";
const VAR_DIR: &str = "var";
const RANCHER_DIR: &str = "etc-rancher";

/// How long a machine that is deleted, or that nobody can reach any more, may take to stop.
const DELETE_GRACE: Duration = Duration::from_secs(10);

/// How long the kernel may take to end all processes of a machine after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A running sandbox.
#[derive(Debug)]
pub struct Sandbox {
    process: Process,
    record: Record,
    /// Where the machine's first process says how it ended; held because the next start replaces
    /// it. There is none yet in a machine that is still being made.
    exit_file: Option<fs::File>,
    state_dir: PathBuf,
    agent_socket: PathBuf,
    log_path: PathBuf,
    is_outdated: bool,
}

pub(super) async fn start(spec: &MachineSpec) -> Result<Sandbox, MachineError> {
    directories::check(spec)?;
    make_private(&spec.state_dir)?;
    let _lock = Lock::take(&spec.state_dir)?;
    if let Some(running) = adopt(spec).await? {
        return Ok(running);
    }
    directories::check_programs(&spec.programs)?;
    directories::prepare(spec)?;
    let (process, record) = launch::launch(spec).await?;
    Ok(Sandbox::new(spec, process, record))
}

pub(super) async fn find(spec: &MachineSpec) -> Result<Option<Sandbox>, MachineError> {
    if !spec.state_dir.exists() {
        return Ok(None);
    }
    let _lock = Lock::take(&spec.state_dir)?;
    adopt(spec).await
}

pub(super) async fn delete(spec: &MachineSpec) -> Result<(), MachineError> {
    if spec.state_dir.exists() {
        let _lock = Lock::take(&spec.state_dir)?;
        if let Some(running) = adopt(spec).await? {
            running.stop_locked(DELETE_GRACE).await?;
            remove(&running.record.runtime_dir).await?;
        }
        remove(&spec.state_dir).await?;
    }
    remove(&spec.runtime_dir).await
}

/// The running machine, if it can still be reached; otherwise what is left of it is removed.
async fn adopt(spec: &MachineSpec) -> Result<Option<Sandbox>, MachineError> {
    let state_dir = &spec.state_dir;
    let record = Record::load(state_dir).map_err(MachineError::io("read", state_dir))?;
    if let Some(record) = record {
        let process = record
            .process()
            .map_err(MachineError::io("look for the machine of", state_dir))?;
        if let Some(process) = process {
            let is_reachable = record.is_reachable();
            let sandbox = Sandbox::new(spec, process, record);
            if is_reachable {
                return Ok(Some(sandbox));
            }
            tracing::warn!(
                pid = sandbox.pid(),
                runtime_dir = %sandbox.record.runtime_dir.display(),
                "the runtime directory was replaced while the machine ran; stopping it",
            );
            sandbox.stop_locked(DELETE_GRACE).await?;
        }
    }
    clean(state_dir, &spec.runtime_dir.join(AGENT_SOCKET))?;
    Ok(None)
}

/// Removes what says that a machine runs. The rest of the state is the guest's.
fn clean(state_dir: &Path, agent_socket: &Path) -> Result<(), MachineError> {
    for path in [agent_socket, &state_dir.join(EXIT_FILE)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(MachineError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    if let Err(error) = cgroup::remove(state_dir) {
        // An empty group harms nobody, and the next start or deletion meets it again.
        tracing::warn!(%error, "the sandbox's control group stays for now");
    }
    record::remove(state_dir).map_err(MachineError::io("remove the record in", state_dir))
}

impl Sandbox {
    fn new(spec: &MachineSpec, process: Process, record: Record) -> Self {
        Self {
            process,
            is_outdated: record.spec_digest != record::digest(spec),
            agent_socket: record.runtime_dir.join(AGENT_SOCKET),
            record,
            exit_file: fs::File::open(spec.state_dir.join(EXIT_FILE)).ok(),
            state_dir: spec.state_dir.clone(),
            log_path: super::log_path(&spec.state_dir),
        }
    }

    pub(super) fn agent_socket(&self) -> &Path {
        &self.agent_socket
    }

    pub(super) fn description(&self) -> String {
        format!("sandbox {}", self.record.made.mode)
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.pid()
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log_path
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    pub(super) async fn exited(&self) -> Result<MachineExit, MachineError> {
        self.process
            .exited()
            .await
            .map_err(MachineError::io("watch the machine of", &self.state_dir))?;
        let mut json = [0; 64];
        let length = self
            .exit_file
            .as_ref()
            .and_then(|file| file.read_at(&mut json, 0).ok())
            .unwrap_or(0);
        // Empty unless the first process lived to its own end.
        Ok(serde_json::from_slice(&json[..length]).unwrap_or(MachineExit::Killed))
    }

    pub(super) async fn stop(&self, grace: Duration) -> Result<(), MachineError> {
        let _lock = Lock::take(&self.state_dir)?;
        self.stop_locked(grace).await
    }

    async fn stop_locked(&self, grace: Duration) -> Result<(), MachineError> {
        let failed = || MachineError::io("stop the machine of", &self.state_dir);
        self.process.signal(Signal::TERM).map_err(failed())?;
        if timeout(grace, self.process.exited()).await.is_err() {
            self.process.signal(Signal::KILL).map_err(failed())?;
            timeout(KILL_DEADLINE, self.process.exited())
                .await
                .map_err(|_| MachineError::StillRunning { pid: self.pid() })?
                .map_err(failed())?;
        }
        let current = Record::load(&self.state_dir).map_err(failed())?;
        if current.is_none_or(|current| current == self.record) {
            clean(&self.state_dir, &self.agent_socket)?;
        }
        Ok(())
    }
}
