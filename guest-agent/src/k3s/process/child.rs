//! One running k3s: started by us, or found running.

use std::fs::{File, OpenOptions};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;

use lkc_protocol::message::K3sRole;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

use super::pid_file::ProcessId;
use crate::k3s::K3sPaths;
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
    Pidfd(AsyncFd<OwnedFd>),
}

impl K3sChild {
    /// Starts k3s in a process group of its own, its output appended to the log.
    pub(super) fn spawn(paths: &K3sPaths, role: K3sRole) -> std::io::Result<Self> {
        let log = open_log(&paths.log_path)?;
        let mut command = Command::new(&paths.binary);
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
        let descriptor = match open_pidfd(id.pid) {
            Ok(descriptor) => descriptor,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The descriptor pins the process: if the start time fits now, it is the right one.
        if !id.is_alive() {
            return Ok(None);
        }
        Ok(Some(Self {
            id,
            wait: Wait::Pidfd(descriptor),
        }))
    }

    /// Waits until it has ended and says how. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        match &mut self.wait {
            Wait::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => format!("exit status unknown: {error}"),
            },
            Wait::Pidfd(descriptor) => match descriptor.readable().await {
                Ok(_) => "exit status unknown, it was started by an earlier agent".to_owned(),
                Err(error) => format!("exit status unknown: {error}"),
            },
        }
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        if self.id.is_alive() {
            let _ = kill(self.unix_pid(), Signal::SIGTERM);
        }
    }

    /// Kills it and its process group.
    pub(super) fn kill(&self) {
        if self.id.is_alive() {
            let _ = killpg(self.unix_pid(), Signal::SIGKILL);
            let _ = kill(self.unix_pid(), Signal::SIGKILL);
        }
    }

    fn unix_pid(&self) -> Pid {
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

#[expect(
    unsafe_code,
    reason = "neither std nor nix has pidfd_open, and registering is unsafe"
)]
fn open_pidfd(pid: u32) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the call takes two integers and returns a new descriptor or -1; it is close-on-exec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_open,
            libc::c_long::from(pid.cast_signed()),
            0,
        )
    };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let descriptor = i32::try_from(result).map_err(std::io::Error::other)?;
    // SAFETY: the kernel has just handed out this descriptor and nobody else has it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: an OwnedFd always gives the same descriptor and keeps it open until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}
