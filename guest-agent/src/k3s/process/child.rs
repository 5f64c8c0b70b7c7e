//! One running k3s: started by us, or found running.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;

use lkc_protocol::message::K3sRole;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

use super::pid_file::ProcessId;
use crate::k3s::K3sPaths;
use crate::k3s::pidfd::Pidfd;
use crate::logs;

/// Size at which the log is rotated when k3s starts; one old file is kept.
const MAX_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// Variables that speak of our own service manager, and must not reach k3s.
const OWN_VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// A process that runs, or has ended and was not waited for.
pub(super) struct K3sChild {
    pub(super) id: ProcessId,
    wait: Wait,
}

enum Wait {
    /// Our child: its exit status is ours to take.
    Child(Child),
    /// Somebody else's: the descriptor becomes readable when it ends, the status stays unknown.
    Held(Pidfd),
}

impl K3sChild {
    /// Starts k3s in a process group of its own, its output appended to the log.
    pub(super) fn spawn(binary: &Path, paths: &K3sPaths, role: K3sRole) -> std::io::Result<Self> {
        let log = open_log(&paths.log_path)?;
        let mut command = Command::new(binary);
        command.arg(role.to_string()).args(arguments(paths, role)?);
        for variable in OWN_VARIABLES {
            command.env_remove(variable);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command.spawn()?;
        // A child that has ended already still has its entry in /proc until it is waited for, so
        // that the start time is there; a zombie only counts as not alive.
        let pid = child
            .id()
            .ok_or_else(|| std::io::Error::other("ended before it had a pid"))?;
        let id = ProcessId::of(pid).unwrap_or_else(|| ProcessId::ended(pid));
        Ok(Self {
            id,
            wait: Wait::Child(child),
        })
    }

    /// Takes over a process that runs; none when it has ended meanwhile.
    pub(super) fn adopt(id: ProcessId) -> std::io::Result<Option<Self>> {
        let Some(held) = Pidfd::open(id.pid)? else {
            return Ok(None);
        };
        // The descriptor pins the process: if the start time fits now, it is the right one.
        if !id.is_alive() {
            return Ok(None);
        }
        Ok(Some(Self {
            id,
            wait: Wait::Held(held),
        }))
    }

    /// Waits until it has ended and says how. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        match &mut self.wait {
            Wait::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("exit status unknown: {error}"),
            },
            Wait::Held(held) => match held.ended().await {
                Ok(()) => "exit status unknown, it was started by an earlier agent".to_owned(),
                Err(error) => format!("exit status unknown: {error}"),
            },
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it and its process group.
    pub(super) fn kill(&self) {
        if self.id.is_alive()
            && let Some(group) = self.unix_pid()
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.signal(Signal::KILL);
    }

    /// What has ended already needs no signal.
    fn signal(&self, signal: Signal) {
        let _ = match &self.wait {
            // The pid is its own until it is waited for.
            Wait::Child(_) if self.id.is_alive() => self
                .unix_pid()
                .map_or(Ok(()), |pid| Ok(kill_process(pid, signal)?)),
            Wait::Child(_) => Ok(()),
            Wait::Held(held) => held.signal(signal),
        };
    }

    fn unix_pid(&self) -> Option<Pid> {
        Pid::from_raw(self.id.pid.cast_signed())
    }
}

/// Only what differs from k3s' own defaults, so that its command line is the usual one.
fn arguments(paths: &K3sPaths, role: K3sRole) -> std::io::Result<Vec<std::ffi::OsString>> {
    let mut arguments = Vec::new();
    if paths.etc_dir != Path::new(K3sPaths::ETC_DIR) {
        let config = paths.etc_dir.join("config.yaml");
        // A file that is named must exist; the directory beside it holds our part.
        std::fs::create_dir_all(&paths.etc_dir)?;
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&config)?;
        arguments.extend(["--config".into(), config.into_os_string()]);
        if role == K3sRole::Server {
            let kubeconfig = paths.kubeconfig_path().into_os_string();
            arguments.extend(["--write-kubeconfig".into(), kubeconfig]);
        }
    }
    if paths.data_dir != Path::new(K3sPaths::DATA_DIR) {
        arguments.extend(["--data-dir".into(), paths.data_dir.clone().into_os_string()]);
    }
    Ok(arguments)
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    logs::rotate_if_larger(path, MAX_LOG_BYTES)?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    log.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(log)
}
