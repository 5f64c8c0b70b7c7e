//! Starting, watching, stopping and removing the machine of a cluster.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lkc_protocol::message::Shutdown;
use tokio::time::timeout;

use super::{
    guest_link::LinkSlot,
    provision::{self, ProvisionError},
    reporter::Reporter,
    state::{MachineInfo, Report},
};
use crate::{
    config::ClusterSpec,
    control::Failure,
    error::Kind,
    machine::{self, Machine, MachineError, QemuError},
    paths::{Paths, private},
};

/// How long k3s and the agent may take to end in peace.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long a system with an init of its own may take to end everything in peace.
const SYSTEM_STOP_GRACE: Duration = Duration::from_secs(40);

/// How long the agent may take to say that it begins to stop.
const SHUTDOWN_ANSWER: Duration = Duration::from_secs(2);

/// Largest console that is read to explain an end, in bytes; of a longer one nothing is said.
const MAX_CONSOLE: usize = 4 * 1024 * 1024;

/// Lines of the console that explain an end.
const CONSOLE_LINES: usize = 20;

/// Where the tasks of a cluster find its machine.
pub(super) type Place = Arc<Mutex<Option<Arc<Machine>>>>;

/// Starts the machine, or adopts the one that runs, and then watches it to its end.
pub(super) async fn start(paths: Paths, spec: Arc<ClusterSpec>, place: Place, reporter: Reporter) {
    let machine = match find_or_start(&paths, &spec).await {
        Ok(machine) => Arc::new(machine),
        Err(failure) => return reporter.send(Report::MachineFailed(failure)).await,
    };
    put(&place, Arc::clone(&machine));
    let info = info(&machine).await;
    reporter.send(Report::MachineStarted(info)).await;
    watch(machine, reporter).await;
}

/// Waits for the end of a machine and reports it.
pub(super) async fn watch(machine: Arc<Machine>, reporter: Reporter) {
    let how = match machine.exited().await {
        Ok(exit) => exit.to_string(),
        Err(error) => format!("it cannot be watched: {}", chain(&error)),
    };
    let tail = console_tail(&machine);
    reporter.send(Report::MachineExited { how, tail }).await;
}

/// Stops the machine: the agent is asked first, then the machine itself.
pub(super) async fn stop(
    paths: Paths,
    spec: Arc<ClusterSpec>,
    place: Place,
    links: LinkSlot,
    reporter: Reporter,
) {
    let machine = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let machine = match machine {
        Some(machine) => Some(machine),
        None => match find(&paths, &spec).await {
            Ok(found) => found.map(Arc::new),
            Err(failure) => return reporter.send(Report::StopFailed(failure)).await,
        },
    };
    if let Some(machine) = machine {
        let mut grace = SYSTEM_STOP_GRACE;
        if machine.ends_with_its_agent() {
            grace = STOP_GRACE;
            if is_shutting_down(&links).await {
                let _ = timeout(STOP_GRACE, machine.exited()).await;
            }
        }
        if let Err(error) = machine.stop(grace).await {
            return reporter.send(Report::StopFailed(failure(&error))).await;
        }
    }
    *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
    reporter.send(Report::MachineStopped).await;
}

/// Removes the machine and everything else that the cluster left.
pub(super) async fn remove(paths: Paths, spec: Arc<ClusterSpec>, reporter: Reporter) {
    let report = match remove_all(&paths, &spec).await {
        Ok(()) => Report::FilesRemoved,
        Err(failure) => Report::RemoveFailed(failure),
    };
    reporter.send(report).await;
}

/// A machine of this specification that already runs.
///
/// # Errors
/// Its state cannot be read or somebody else is busy with it.
pub(super) async fn find(paths: &Paths, spec: &ClusterSpec) -> Result<Option<Machine>, Failure> {
    let found = provision::found_machine(paths, spec).map_err(|error| provisioned(&error))?;
    machine::find(&found).await.map_err(|error| failure(&error))
}

/// What the state needs to know of a machine.
pub(super) async fn info(machine: &Machine) -> MachineInfo {
    MachineInfo {
        pid: u32::try_from(machine.pid()).ok().filter(|&pid| pid != 0),
        description: machine.description(),
        carriers: machine.carriers().await,
    }
}

/// Puts a machine where the tasks of its cluster find it.
pub(super) fn put(place: &Place, machine: Arc<Machine>) {
    *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(machine);
}

async fn find_or_start(paths: &Paths, spec: &ClusterSpec) -> Result<Machine, Failure> {
    if let Some(machine) = find(paths, spec).await? {
        return Ok(machine);
    }
    let new = provision::new_machine(paths, spec).map_err(|error| provisioned(&error))?;
    machine::start(&new).await.map_err(|error| failure(&error))
}

async fn remove_all(paths: &Paths, spec: &ClusterSpec) -> Result<(), Failure> {
    let found = provision::found_machine(paths, spec).map_err(|error| provisioned(&error))?;
    machine::delete(&found)
        .await
        .map_err(|error| failure(&error))?;
    provision::remove(paths, &spec.name).map_err(|error| provisioned(&error))
}

/// Whether the agent has said that it stops.
async fn is_shutting_down(links: &LinkSlot) -> bool {
    let Some(active) = links.borrow().clone() else {
        return false;
    };
    let grace_ms = u32::try_from(STOP_GRACE.as_millis()).unwrap_or(u32::MAX);
    let request = Shutdown { grace_ms };
    let answer = timeout(SHUTDOWN_ANSWER, active.link.request(&request)).await;
    matches!(answer, Ok(Ok(_)))
}

fn console_tail(machine: &Machine) -> Vec<String> {
    let console = private::read_bounded(machine.log_path(), MAX_CONSOLE).unwrap_or_default();
    let text = String::from_utf8_lossy(&console);
    let lines: Vec<_> = text.lines().collect();
    let excess = lines.len().saturating_sub(CONSOLE_LINES);
    lines[excess..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

fn provisioned(error: &ProvisionError) -> Failure {
    error.to_failure()
}

pub(super) fn failure(error: &MachineError) -> Failure {
    let kind = match error {
        MachineError::Busy { .. } => Kind::Conflict,
        MachineError::BadSpec { .. }
        | MachineError::SocketPathTooLong { .. }
        | MachineError::NoSnapshots { .. } => Kind::BadInput,
        MachineError::Qemu(error) => qemu_kind(error),
        _ => Kind::HostIo,
    };
    let tail = match error {
        MachineError::InitFailed { console, .. } => console.lines().map(str::to_owned).collect(),
        MachineError::Qemu(QemuError::NotStarted { log, .. }) => {
            log.lines().map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    Failure {
        kind,
        message: chain(error),
        hints: vec![error.hint()],
        tail,
    }
}

fn qemu_kind(error: &QemuError) -> Kind {
    match error {
        QemuError::NoImage
        | QemuError::MissingImage(_)
        | QemuError::BadImage { .. }
        | QemuError::Shrinks { .. }
        | QemuError::SnapshotName(_) => Kind::BadInput,
        QemuError::OtherImage { .. }
        | QemuError::ImageChanged(_)
        | QemuError::NoContextId
        | QemuError::SnapshotExists(_) => Kind::Conflict,
        QemuError::NoSnapshot(_) => Kind::NotFound,
        QemuError::MissingTool { .. }
        | QemuError::NoFirmware
        | QemuError::Tool { .. }
        | QemuError::NotStarted { .. }
        | QemuError::Monitor { .. }
        | QemuError::DeviceKept(_)
        | QemuError::Snapshot { .. } => Kind::HostIo,
    }
}

/// An error with its sources, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
