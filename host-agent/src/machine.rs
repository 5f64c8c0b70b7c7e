//! What a node runs on. [`start`] makes a machine or finds the one that runs already, [`find`] only
//! looks, [`delete`] leaves nothing behind; in between a [`Machine`] is watched and stopped.
//!
//! A machine outlives the daemon that started it. Whoever comes next finds it by the record in its
//! state directory, so nothing here is needed to keep one running.

mod directories;
mod error;
pub mod existing;
#[cfg(target_os = "linux")]
mod process;
#[cfg(not(target_os = "linux"))]
#[path = "machine/process_elsewhere.rs"]
mod process;
pub mod qemu;
mod record;
#[cfg(target_os = "linux")]
pub mod sandbox;
#[cfg(not(target_os = "linux"))]
#[path = "machine/sandbox_elsewhere.rs"]
pub mod sandbox;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::carrier::{Carrier, Route};

pub use error::{MachineError, Sysctl};
pub use qemu::QemuError;
pub use sandbox::probe;

/// The socket of the agent, inside [`MachineSpec::runtime_dir`].
pub const AGENT_SOCKET: &str = "agent.sock";

/// Where the guest finds the files of [`MachineSpec::files`].
pub const GUEST_CONFIG_DIR: &str = "/etc/lkc";

/// Where the guest finds [`MachineSpec::runtime_dir`]; the agent listens on `agent.sock` in it.
pub const GUEST_RUNTIME_DIR: &str = "/run/lkc";

/// Where the guest finds `lkc-guest` and `k3s`; first in the agent's `PATH`.
pub const GUEST_PROGRAM_DIR: &str = "/opt/lkc/bin";

/// Which driver makes a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// Linux namespaces on this host.
    #[default]
    Sandbox,
    /// A machine that somebody else made and runs.
    Existing,
    /// A virtual machine by QEMU.
    Qemu,
}

/// Everything a driver needs to know to make a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MachineSpec {
    pub driver: Driver,
    /// Name of the node, which becomes the guest's hostname: lower-case letters, digits, `-`, `.`.
    pub name: String,
    /// Address of the guest's network interface.
    pub mac: [u8; 6],
    /// What survives a stop: the guest's `/var` and `/etc/rancher`, the record, the console log.
    /// Made with mode 0700 when it is not there.
    pub state_dir: PathBuf,
    /// What does not survive a stop: the agent's socket. Short, because a socket's path must be.
    pub runtime_dir: PathBuf,
    pub programs: Programs,
    /// How a machine that is there already is reached, the best first; others know it themselves.
    pub carriers: Vec<Route>,
    /// Files placed below [`GUEST_CONFIG_DIR`] at each start.
    pub files: Vec<GuestFile>,
    pub agent_args: Vec<String>,
    /// Added to the agent's otherwise clean environment.
    pub env: BTreeMap<String, String>,
    /// What a virtual machine is made of; other drivers have no use for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmSpec>,
}

/// What a virtual machine is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// A disk image that contains the agent. It is never written.
    pub image: PathBuf,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Size that the disk has at least, in MiB; the image's own when there is none.
    pub disk_mib: Option<u32>,
    /// Firmware to boot with; the usual one of the architecture when there is none.
    pub firmware: Option<PathBuf>,
    /// The network that the guest's own traffic leaves by.
    pub network: VmNetwork,
}

/// The network behind a virtual machine's interface, as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmNetwork {
    /// The guest's address.
    pub address: IpAddr,
    /// Prefix length of it.
    pub prefix: u8,
    /// Who leads out of it; nobody when there is none.
    pub gateway: Option<IpAddr>,
    /// Where names are asked for, if that is in this network.
    pub nameserver: Option<IpAddr>,
}

/// Programs of the host that run in the guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Programs {
    pub guest_agent: PathBuf,
    /// A real k3s or the simulator.
    pub k3s: PathBuf,
}

/// A file that the guest gets. Its contents may be secret: they are neither logged nor kept.
#[derive(Clone, Serialize, Deserialize)]
pub struct GuestFile {
    /// Absolute, below [`GUEST_CONFIG_DIR`].
    pub path: PathBuf,
    pub contents: Vec<u8>,
    pub mode: u32,
}

impl fmt::Debug for GuestFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            contents,
            mode,
        } = self;
        write!(
            f,
            "GuestFile({} mode {mode:o}, {} bytes)",
            path.display(),
            contents.len()
        )
    }
}

/// What to do with snapshots. Answered by the list as it is afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", content = "name", rename_all = "kebab-case")]
pub enum SnapshotOrder {
    /// Only the list.
    List,
    /// Keeps disk and memory under a name.
    Save(String),
    /// Makes disk and memory what they were.
    Restore(String),
    /// Forgets one.
    Delete(String),
}

/// A machine as it was at a moment, memory included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Bytes of memory that were kept.
    pub memory_bytes: u64,
}

/// How a machine ended, as far as it could still say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MachineExit {
    /// Its agent was asked to shut the machine down and did.
    ShutDown,
    /// It was told to stop from outside and did.
    Stopped,
    /// It was gone before it could say why: killed, or the host restarted.
    Killed,
}

impl fmt::Display for MachineExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShutDown => "shut down by its agent",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        })
    }
}

/// A machine that was running when it was last looked at.
#[derive(Debug)]
pub enum Machine {
    Sandbox(sandbox::Sandbox),
    Existing(existing::Existing),
    Qemu(qemu::Qemu),
}

/// Makes the machine and starts its agent, or adopts the one that runs already.
///
/// # Errors
/// Each [`MachineError`] says what to do. After an error nothing of the machine runs.
pub async fn start(spec: &MachineSpec) -> Result<Machine, MachineError> {
    match spec.driver {
        Driver::Sandbox => sandbox::start(spec).await.map(Machine::Sandbox),
        Driver::Existing => existing::start(spec).map(Machine::Existing),
        Driver::Qemu => qemu::start(spec).await.map(Machine::Qemu),
    }
}

/// Finds a machine that outlived whoever started it, and cleans up after one that died.
///
/// # Errors
/// When the state directory cannot be read or another process is busy with it.
pub async fn find(spec: &MachineSpec) -> Result<Option<Machine>, MachineError> {
    match spec.driver {
        Driver::Sandbox => Ok(sandbox::find(spec).await?.map(Machine::Sandbox)),
        Driver::Existing => Ok(existing::find(spec)?.map(Machine::Existing)),
        Driver::Qemu => Ok(qemu::find(spec).await?.map(Machine::Qemu)),
    }
}

/// Name of the file in a machine's state directory in which its first process says how it ended.
const EXIT_FILE: &str = "exit.json";

/// Name of the console in a machine's state directory.
const CONSOLE_FILE: &str = "console.log";

/// The console of the machine whose state directory is `state_dir`, whether or not it runs.
#[must_use]
pub fn log_path(state_dir: &Path) -> PathBuf {
    state_dir.join(CONSOLE_FILE)
}

/// Stops the machine if it runs and removes its state and runtime directories.
///
/// # Errors
/// When it cannot be stopped or a file cannot be removed; calling again continues.
pub async fn delete(spec: &MachineSpec) -> Result<(), MachineError> {
    match spec.driver {
        Driver::Sandbox => sandbox::delete(spec).await,
        Driver::Existing => existing::delete(spec),
        Driver::Qemu => qemu::delete(spec).await,
    }
}

impl Machine {
    /// How the agent is reached, the best first. Somebody answers once the agent listens, which may
    /// be after [`start`] returned. A machine that was found may be reached otherwise than its
    /// specification says now, and one that is asked again otherwise than before: a machine that
    /// was started again can have another context id. So ask for each attempt to connect.
    #[expect(clippy::unused_async, reason = "other drivers ask their tool")]
    pub async fn carriers(&self) -> Vec<Route> {
        match self {
            Self::Sandbox(sandbox) => {
                vec![Carrier::Unix(sandbox.agent_socket().to_owned()).into()]
            }
            Self::Existing(existing) => existing.carriers(),
            Self::Qemu(qemu) => qemu.carriers(),
        }
    }

    /// What kind of machine this is, for people.
    pub fn description(&self) -> String {
        match self {
            Self::Sandbox(sandbox) => sandbox.description(),
            Self::Existing(_) => "existing".to_owned(),
            Self::Qemu(qemu) => qemu.description(),
        }
    }

    /// Whether the guest ends with the machine, so that it may be asked to end first. One that
    /// somebody else runs goes on.
    #[must_use]
    pub const fn stops_guest(&self) -> bool {
        !matches!(self, Self::Existing(_))
    }

    /// Pid on the host of the machine's first process; 0 when it has none here.
    pub fn pid(&self) -> i32 {
        match self {
            Self::Sandbox(sandbox) => sandbox.pid(),
            Self::Existing(_) => 0,
            Self::Qemu(qemu) => qemu.pid(),
        }
    }

    /// The machine's console: what its init and its agent write.
    pub fn log_path(&self) -> &Path {
        match self {
            Self::Sandbox(sandbox) => sandbox.log_path(),
            Self::Existing(existing) => existing.log_path(),
            Self::Qemu(qemu) => qemu.log_path(),
        }
    }

    /// Whether the machine was started from another specification than the one it was found with,
    /// files and directories aside, so that only a restart makes it what was asked for.
    pub fn is_outdated(&self) -> bool {
        match self {
            Self::Sandbox(sandbox) => sandbox.is_outdated(),
            Self::Existing(existing) => existing.is_outdated(),
            Self::Qemu(qemu) => qemu.is_outdated(),
        }
    }

    /// Waits until the machine has ended, however it ends. Dropping the future changes nothing.
    ///
    /// # Errors
    /// When the kernel's notification cannot be waited for.
    pub async fn exited(&self) -> Result<MachineExit, MachineError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.exited().await,
            Self::Existing(existing) => Ok(existing.exited().await),
            Self::Qemu(qemu) => qemu.exited().await,
        }
    }

    /// Asks the machine to stop, kills it when `grace` is over, and returns once it is gone.
    ///
    /// # Errors
    /// When it may not be signalled or is still there after being killed.
    pub async fn stop(&self, grace: Duration) -> Result<(), MachineError> {
        match self {
            Self::Sandbox(sandbox) => sandbox.stop(grace).await,
            Self::Existing(existing) => existing.stop(),
            Self::Qemu(qemu) => qemu.stop(grace).await,
        }
    }

    /// Whether the machine ends when its agent does. Where an init system runs the agent it does
    /// not, and whoever stops the machine asks that.
    pub fn ends_with_its_agent(&self) -> bool {
        match self {
            Self::Sandbox(_) => true,
            Self::Existing(_) | Self::Qemu(_) => false,
        }
    }

    /// Saves, restores, lists or deletes what the machine was at a moment.
    ///
    /// # Errors
    /// When the driver has no snapshots, or this one cannot be done.
    pub async fn snapshot(&self, order: &SnapshotOrder) -> Result<Vec<Snapshot>, MachineError> {
        match self {
            Self::Sandbox(_) => Err(MachineError::NoSnapshots { driver: "sandbox" }),
            Self::Existing(_) => Err(MachineError::NoSnapshots { driver: "existing" }),
            Self::Qemu(qemu) => qemu.snapshot(order).await,
        }
    }
}
