//! Virtual machines by QEMU: an overlay disk over an image that contains the agent, reached by
//! AF_VSOCK where the host has it and by virtio-serial everywhere, with credentials instead of
//! ports, keys or plans baked into the image.
//!
//! The machine is a process of its own, [`keeper_main`], which keeps QEMU and its helpers and
//! outlives the daemon. The daemon asks QEMU by its monitor, and only for as long as the asking
//! takes.

mod accelerator;
mod architecture;
mod arguments;
mod channel;
mod credentials;
mod disk;
mod driver;
pub mod error;
pub mod image;
mod keeper;
mod launch;
mod qmp;
mod snapshots;
#[cfg(target_os = "linux")]
mod system;
#[cfg(not(target_os = "linux"))]
#[path = "qemu/system_elsewhere.rs"]
mod system;
mod tool;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::timeout;

use self::accelerator::Found;
use self::channel::{Channel, Sockets};
use self::qmp::Qmp;
use super::directories::{
    Lock, check_absolute, check_mac, check_name, check_socket, make_private, remove,
};
use super::process::Process;
use super::{EXIT_FILE, MachineError, MachineExit, MachineSpec, Snapshot, SnapshotOrder, record};
use crate::carrier::Route;

pub use channel::AGENT_PORT;
pub use error::QemuError;
pub use keeper::{child_main, keeper_main};

/// The hidden command that [`keeper_main`] is.
pub const KEEPER_COMMAND: &str = "qemu-keeper";

/// The hidden command that [`child_main`] is.
pub const CHILD_COMMAND: &str = "qemu-child";

/// This very program, also after its file was replaced by a newer one.
#[cfg(target_os = "linux")]
const SELF: &str = "/proc/self/exe";
#[cfg(not(target_os = "linux"))]
const SELF: &str = "lkc-host";

/// How long QEMU may take to end when it is told to.
const QUIT_GRACE: Duration = Duration::from_secs(10);

/// How long the kernel may take to end all processes of a machine after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// What is kept of a running machine.
type Record = record::Record<Made>;

/// How a machine was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    channel: Channel,
    found: Found,
}

/// A running virtual machine.
#[derive(Debug)]
pub struct Qemu {
    process: Process,
    record: Record,
    /// Where the keeper says how the machine ended; held because the next start replaces it. Made
    /// empty at the start.
    exit_file: Option<fs::File>,
    state_dir: PathBuf,
    log_path: PathBuf,
    sockets: Sockets,
    is_outdated: bool,
}

pub(super) async fn start(spec: &MachineSpec) -> Result<Qemu, MachineError> {
    check(spec)?;
    make_private(&spec.state_dir)?;
    let _lock = Lock::take(&spec.state_dir)?;
    if let Some(running) = adopt(spec).await? {
        return Ok(running);
    }
    let vm = spec.vm.as_ref().ok_or(QemuError::NoImage)?;
    make_private(&spec.runtime_dir)?;
    let exit_file = spec.state_dir.join(EXIT_FILE);
    fs::write(&exit_file, []).map_err(MachineError::io("write", exit_file))?;
    let (process, record) = launch::launch(spec, vm).await?;
    Ok(Qemu::new(spec, process, record))
}

pub(super) async fn find(spec: &MachineSpec) -> Result<Option<Qemu>, MachineError> {
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
            // Nothing of it is kept, so it need not put anything in order.
            running.stop_locked(Duration::ZERO).await?;
            remove(&running.record.runtime_dir).await?;
        }
        remove(&spec.state_dir).await?;
    }
    remove(&spec.runtime_dir).await
}

fn check(spec: &MachineSpec) -> Result<(), MachineError> {
    check_name(&spec.name)?;
    check_mac(spec.mac)?;
    for (what, path) in [
        ("state directory", &spec.state_dir),
        ("runtime directory", &spec.runtime_dir),
    ] {
        check_absolute(what, path)?;
    }
    let vm = spec.vm.as_ref().ok_or(QemuError::NoImage)?;
    check_absolute("disk image", &vm.image)?;
    Sockets::of(&spec.runtime_dir)
        .all()
        .into_iter()
        .try_for_each(|socket| check_socket(socket.to_owned()))
}

/// The running machine, if it can still be reached; otherwise what is left of it is removed.
async fn adopt(spec: &MachineSpec) -> Result<Option<Qemu>, MachineError> {
    let state_dir = &spec.state_dir;
    let record = Record::load(state_dir).map_err(MachineError::io("read", state_dir))?;
    if let Some(record) = record {
        let process = record
            .process()
            .map_err(MachineError::io("look for the machine of", state_dir))?;
        if let Some(process) = process {
            let is_reachable = record.is_reachable();
            let qemu = Qemu::new(spec, process, record);
            if is_reachable {
                return Ok(Some(qemu));
            }
            tracing::warn!(
                pid = qemu.pid(),
                runtime_dir = %qemu.record.runtime_dir.display(),
                "the runtime directory was replaced while the machine ran; stopping it",
            );
            qemu.stop_locked(Duration::ZERO).await?;
        }
    }
    clean(state_dir, &spec.runtime_dir)?;
    Ok(None)
}

/// Removes what says that a machine runs. The disk and the logs stay.
fn clean(state_dir: &Path, runtime_dir: &Path) -> Result<(), MachineError> {
    let exit_file = state_dir.join(EXIT_FILE);
    for path in Sockets::of(runtime_dir)
        .all()
        .into_iter()
        .chain([&*exit_file])
    {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(MachineError::io("remove", path)(error));
            }
            _ => {}
        }
    }
    if runtime_dir.exists() {
        credentials::remove(runtime_dir)
            .map_err(MachineError::io("remove credentials in", runtime_dir))?;
    }
    record::remove(state_dir).map_err(MachineError::io("remove the record in", state_dir))
}

impl Qemu {
    fn new(spec: &MachineSpec, process: Process, record: Record) -> Self {
        Self {
            process,
            is_outdated: record.spec_digest != record::digest(spec),
            sockets: Sockets::of(&record.runtime_dir),
            record,
            exit_file: fs::File::open(spec.state_dir.join(EXIT_FILE)).ok(),
            state_dir: spec.state_dir.clone(),
            log_path: super::log_path(&spec.state_dir),
        }
    }

    pub(super) fn carriers(&self) -> Vec<Route> {
        vec![self.record.made.channel.route(&self.sockets)]
    }

    /// What it is, what runs it, why that is nothing better, and what leads to it.
    pub(super) fn description(&self) -> String {
        let Made { channel, found } = &self.record.made;
        let Found { accelerator, why } = found;
        let why = match why.as_str() {
            "" => String::new(),
            why => format!(" ({why})"),
        };
        format!("QEMU, {accelerator}{why}, {}", channel.description())
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
        // Empty unless the keeper lived to its own end.
        Ok(serde_json::from_slice(&json[..length]).unwrap_or(MachineExit::Killed))
    }

    pub(super) async fn stop(&self, grace: Duration) -> Result<(), MachineError> {
        let _lock = Lock::take(&self.state_dir)?;
        self.stop_locked(grace).await
    }

    pub(super) async fn snapshot(
        &self,
        order: &SnapshotOrder,
    ) -> Result<Vec<Snapshot>, MachineError> {
        let _lock = Lock::take(&self.state_dir)?;
        let channel = &self.record.made.channel;
        Ok(snapshots::perform(order, channel, &self.sockets).await?)
    }

    /// Presses the power button and waits; tells QEMU to end when `grace` is over, or at once when
    /// there is none; then its keeper; then kills.
    async fn stop_locked(&self, grace: Duration) -> Result<(), MachineError> {
        let failed = || MachineError::io("stop the machine of", &self.state_dir);
        let gone = grace > Duration::ZERO
            && self.ask("system_powerdown").await
            && self.is_gone_within(grace).await?;
        let gone = gone || self.ask("quit").await && self.is_gone_within(QUIT_GRACE).await?;
        if !gone {
            self.process.signal(Signal::TERM).map_err(failed())?;
            if !self.is_gone_within(QUIT_GRACE).await? {
                self.process.signal(Signal::KILL).map_err(failed())?;
                if !self.is_gone_within(KILL_DEADLINE).await? {
                    return Err(MachineError::StillRunning { pid: self.pid() });
                }
            }
        }
        let current = Record::load(&self.state_dir).map_err(failed())?;
        if current.is_none_or(|current| current == self.record) {
            clean(&self.state_dir, &self.record.runtime_dir)?;
        }
        Ok(())
    }

    /// Whether QEMU took an order that it may answer by being gone.
    async fn ask(&self, command: &'static str) -> bool {
        let ordered = async {
            let mut monitor = Qmp::connect(&self.sockets.monitor).await?;
            monitor.order(command, &json!({})).await
        };
        match ordered.await {
            Ok(()) | Err(qmp::QmpError::Closed) => true,
            Err(error) => {
                tracing::warn!(pid = self.pid(), "QEMU does not take `{command}`: {error}");
                false
            }
        }
    }

    async fn is_gone_within(&self, patience: Duration) -> Result<bool, MachineError> {
        match timeout(patience, self.process.exited()).await {
            Ok(exited) => exited
                .map(|()| true)
                .map_err(MachineError::io("watch the machine of", &self.state_dir)),
            Err(_) => Ok(false),
        }
    }
}
