//! Starting a virtual machine, as the daemon sees it: prepare its files, start its keeper, wait until
//! QEMU answers, and on any failure leave nothing running.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::accelerator;
use super::architecture::Architecture;
use super::arguments::Wanted;
use super::channel::{CONTEXT_ATTEMPTS, Channel, Sockets};
use super::error::QemuError;
use super::keeper::{Device, Invocation, Plan, STARTED};
use super::qmp::{Qmp, QmpError};
use super::{KEEPER_COMMAND, KILL_DEADLINE, Made, Record, SELF, clean, credentials, disk, tool};
use crate::machine::directories::{console_tail, open_console};
use crate::machine::process::Process;
use crate::machine::{MachineError, MachineSpec, VmSpec, record};

/// QEMU takes 0.2 s to be asked.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// What the keeper, QEMU and the device's process write.
const LOG_FILE: &str = "qemu.log";

/// What QEMU says when the kernel has given a context id to another guest.
const CONTEXT_TAKEN: &str = "guest cid";

/// Starts it.
pub(super) async fn launch(
    spec: &MachineSpec,
    vm: &VmSpec,
) -> Result<(Process, Record), MachineError> {
    let architecture = Architecture::of_host().ok_or(QemuError::NoFirmware)?;
    let qemu = tool::needed(architecture.program(), architecture.package())?;
    let firmware = firmware(vm, architecture)?;
    let disk = disk::prepare(vm, &spec.state_dir).await?;
    let found = accelerator::probe(&qemu, architecture).await;
    if !found.why.is_empty() {
        tracing::warn!(
            machine = spec.name,
            "{}, so it runs by {}",
            found.why,
            found.accelerator
        );
    }
    let sockets = Sockets::of(&spec.runtime_dir);
    let mut channel = Channel::choose(seed(spec));
    for _ in 0..CONTEXT_ATTEMPTS {
        let credentials = credentials::write(&spec.files, architecture, &spec.runtime_dir)?;
        drop(open_console(&spec.state_dir)?);
        let wanted = Wanted {
            name: &spec.name,
            mac: spec.mac,
            vm,
            architecture,
            accelerator: found.accelerator,
            channel: &channel,
            sockets: &sockets,
            disk: &disk,
            console: &crate::machine::log_path(&spec.state_dir),
            firmware: firmware.as_deref(),
            credentials: &credentials,
        };
        let plan = Plan {
            state_dir: spec.state_dir.clone(),
            qemu: Invocation {
                program: qemu.clone(),
                arguments: wanted.arguments(),
            },
            device: device(&channel, &sockets),
        };
        let made = Made {
            channel: channel.clone(),
            found: found.clone(),
        };
        let started = run(spec, &plan, made, &sockets).await;
        match started {
            Err(MachineError::Qemu(QemuError::NotStarted { log, .. }))
                if matches!(channel, Channel::Kernel { .. }) && log.contains(CONTEXT_TAKEN) =>
            {
                channel = channel.next();
            }
            other => return other,
        }
    }
    Err(QemuError::NoContextId.into())
}

fn firmware(vm: &VmSpec, architecture: Architecture) -> Result<Option<PathBuf>, QemuError> {
    if vm.firmware.is_some() || architecture.has_firmware() {
        return Ok(vm.firmware.clone());
    }
    match architecture.found_firmware(Path::exists) {
        Some(found) => Ok(Some(found)),
        None => Err(QemuError::NoFirmware),
    }
}

/// Spreads what machines of one host share.
fn seed(spec: &MachineSpec) -> u64 {
    let text = record::fingerprint(spec.state_dir.as_os_str().as_encoded_bytes());
    u64::from_str_radix(&text, 16).unwrap_or_default()
}

fn device(channel: &Channel, sockets: &Sockets) -> Option<Device> {
    let (Channel::User { program }, Some(context)) = (channel, channel.context()) else {
        return None;
    };
    let vm = format!(
        "guest-cid={context},socket={},uds-path={}",
        sockets.device.display(),
        sockets.hidden.display()
    );
    Some(Device {
        invocation: Invocation {
            program: program.clone(),
            arguments: vec![OsString::from("--vm"), OsString::from(vm)],
        },
        socket: sockets.device.clone(),
        hidden: sockets.hidden.clone(),
        way_in: sockets.vsock.clone(),
    })
}

/// Runs the keeper and returns when QEMU answers; after an error nothing runs.
async fn run(
    spec: &MachineSpec,
    plan: &Plan,
    made: Made,
    sockets: &Sockets,
) -> Result<(Process, Record), MachineError> {
    let log = spec.state_dir.join(LOG_FILE);
    let plan_json = serde_json::to_vec(plan).map_err(|error| MachineError::BadSpec {
        what: "specification",
        why: error.to_string(),
    })?;
    let mut keeper = Command::new(SELF)
        .arg0("lkc-host")
        .arg(KEEPER_COMMAND)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(open_log(&log)?)
        // Until its record is written it is ours to end.
        .kill_on_drop(true)
        .spawn()
        .map_err(MachineError::io("run", SELF))?;
    let failed = || MachineError::io("look for the machine of", &spec.state_dir);
    let pid = keeper.id().and_then(|pid| i32::try_from(pid).ok());
    let record = match pid {
        Some(pid) => Record::of(pid, made, spec)
            .and_then(|record| record.store(&spec.state_dir).map(|()| record))
            .map_err(MachineError::io("write the record in", &spec.state_dir))?,
        None => return Err(not_started("it ended at once".to_owned(), &log).into()),
    };
    let followed = timeout(START_DEADLINE, follow(&mut keeper, &plan_json, sockets)).await;
    let process = record.process().map_err(failed())?;
    let why = match (followed, process) {
        (Ok(Ok(())), Some(process)) => {
            leave(keeper);
            return Ok((process, record));
        }
        (Ok(Ok(())), None) => "it ended at once".to_owned(),
        (Ok(Err(why)), process) => {
            kill(process, &spec.state_dir).await?;
            why
        }
        (Err(_), process) => {
            kill(process, &spec.state_dir).await?;
            "it does not answer".to_owned()
        }
    };
    let error = not_started(why, &log);
    clean(&spec.state_dir, &spec.runtime_dir)?;
    Err(error.into())
}

/// Hands the plan over, waits for the keeper's word, and asks QEMU how it is.
async fn follow(keeper: &mut Child, plan_json: &[u8], sockets: &Sockets) -> Result<(), String> {
    if let Some(mut stdin) = keeper.stdin.take() {
        // A keeper that ended early has logged why.
        let _ = stdin.write_all(plan_json).await;
    }
    let Some(stdout) = keeper.stdout.take() else {
        return Err("its keeper cannot be heard".to_owned());
    };
    let mut lines = BufReader::new(stdout.take(64)).lines();
    match lines.next_line().await {
        Ok(Some(line)) if line == STARTED => {}
        _ => return Err("its keeper gave up".to_owned()),
    }
    let running = async {
        let mut monitor = Qmp::connect_within(&sockets.monitor, START_DEADLINE).await?;
        monitor.order("query-status", &json!({})).await
    };
    tokio::select! {
        answered = running => answered.map_err(|error: QmpError| error.to_string()),
        _ = keeper.wait() => Err("it ended at once".to_owned()),
    }
}

/// The machine goes on without us. Who reaps it is whoever is there when it ends: a task of ours, or
/// init.
fn leave(mut keeper: Child) {
    tokio::spawn(async move {
        let _ = keeper.wait().await;
        // Dropping it now kills nobody.
    });
}

async fn kill(process: Option<Process>, state_dir: &Path) -> Result<(), MachineError> {
    let Some(process) = process else {
        return Ok(());
    };
    let failed = || MachineError::io("stop the machine of", state_dir);
    process.signal(Signal::KILL).map_err(failed())?;
    timeout(KILL_DEADLINE, process.exited())
        .await
        .map_err(|_| MachineError::StillRunning { pid: process.pid() })?
        .map_err(failed())
}

fn not_started(why: String, log: &Path) -> QemuError {
    QemuError::NotStarted {
        why,
        log: console_tail(log).unwrap_or_default(),
    }
}

/// A log for this run only: what it says is of interest when it failed.
fn open_log(path: &Path) -> Result<File, MachineError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(MachineError::io("open", path))
}
