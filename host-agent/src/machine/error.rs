//! Why a machine could not be made, and what to do about it.

use std::io;
use std::path::PathBuf;

use super::{GUEST_CONFIG_DIR, QemuError};

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("the sandbox needs Linux")]
    NeedsLinux,
    #[error("the machine's {what} is not usable: {why}")]
    BadSpec { what: &'static str, why: String },
    #[error("this kernel gives us no user namespace: {why}")]
    NoUserNamespaces {
        why: String,
        /// The setting that forbids it, when one was found to, and the value that allows it.
        sysctl: Option<Sysctl>,
    },
    #[error("no fresh /proc can be mounted: {why}")]
    NoProc { why: String },
    #[error("no network interface can be made in the sandbox: {why}")]
    NoInterface { why: String },
    #[error("{program} is not at {path}")]
    MissingProgram {
        program: &'static str,
        path: PathBuf,
    },
    #[error("the agent's socket path is {length} bytes long, a unix socket takes {limit}: {path}")]
    SocketPathTooLong {
        path: PathBuf,
        length: usize,
        limit: usize,
    },
    #[error("the sandbox failed to start: {step}: {why}")]
    InitFailed {
        step: String,
        why: String,
        /// The last lines of the console, without control characters; may be empty.
        console: String,
    },
    #[error("another process is starting or stopping the machine in {state_dir}")]
    Busy { state_dir: PathBuf },
    #[error("{path} belongs to user {owner}, not to us")]
    ForeignState { path: PathBuf, owner: u32 },
    #[error("process {pid} of the machine is still there after SIGKILL")]
    StillRunning { pid: i32 },
    #[error("machines of the driver {driver} have no snapshots")]
    NoSnapshots { driver: &'static str },
    #[error(transparent)]
    Qemu(#[from] QemuError),
    #[error("cannot {what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A kernel setting with the value it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    pub name: &'static str,
    pub value: &'static str,
}

impl MachineError {
    /// For `map_err`: the error came from doing `what` to `path`.
    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    /// What the user can do, in one or two sentences.
    pub fn hint(&self) -> String {
        match self {
            Self::NeedsLinux => {
                "use another driver on this system, or run lkc-host inside a Linux VM".into()
            }
            Self::BadSpec { what, .. } => match *what {
                "file" => format!("files of the guest go below {GUEST_CONFIG_DIR}"),
                _ => "change it in lkc.toml".into(),
            },
            Self::NoUserNamespaces {
                sysctl: Some(Sysctl { name, value }),
                ..
            } => format!("allow them with `sudo sysctl {name}={value}`, or run lkc-host as root"),
            Self::NoUserNamespaces { sysctl: None, .. } => {
                "run lkc-host as root, or use another driver; inside a container, its runtime must \
                 allow namespaces (a privileged container does)"
                    .into()
            }
            Self::NoProc { .. } => "this looks like a container whose /proc is masked: run it \
                                    privileged, or use another driver"
                .into(),
            Self::NoInterface { .. } => {
                "load the kernel module for it with `sudo modprobe veth`".into()
            }
            Self::MissingProgram { program, .. } => {
                format!("install {program} beside lkc-host, or name its path in lkc.toml")
            }
            Self::SocketPathTooLong { .. } => {
                "set XDG_RUNTIME_DIR to a directory with a shorter path".into()
            }
            Self::InitFailed { console, .. } if console.is_empty() => {
                "run again; if it stays, the message names the step that the kernel refused".into()
            }
            Self::InitFailed { .. } => "the machine's console has the reason".into(),
            Self::Busy { .. } => "wait for the other command to end, then run this again".into(),
            Self::ForeignState { path, .. } => format!(
                "lkc-host ran as another user before: run it as that user, or remove {}",
                path.display()
            ),
            Self::StillRunning { pid } => format!(
                "it hangs in the kernel; `cat /proc/{pid}/stack` as root shows where, a reboot \
                 ends it"
            ),
            Self::NoSnapshots { .. } => {
                "only virtual machines by QEMU have them: `lkc-host up --driver qemu`".into()
            }
            Self::Qemu(error) => error.hint(),
            Self::Io { path, .. } => format!("check the permissions of {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_to_do() {
        let namespaces = |sysctl| MachineError::NoUserNamespaces {
            why: "cannot enter a user namespace: operation not permitted".into(),
            sysctl,
        };
        let init = |console: &str| MachineError::InitFailed {
            step: "mount a tmpfs on /s/root".into(),
            why: "operation not permitted".into(),
            console: console.into(),
        };
        let errors = [
            MachineError::NeedsLinux,
            MachineError::BadSpec {
                what: "name",
                why: "\"K3S\" has to be lower-case".into(),
            },
            MachineError::BadSpec {
                what: "file",
                why: "/etc/passwd is elsewhere".into(),
            },
            namespaces(None),
            namespaces(Some(Sysctl {
                name: "kernel.unprivileged_userns_clone",
                value: "1",
            })),
            MachineError::NoProc {
                why: "operation not permitted".into(),
            },
            MachineError::NoInterface {
                why: "cannot make a veth pair".into(),
            },
            MachineError::MissingProgram {
                program: "lkc-guest",
                path: "/opt/lkc-guest".into(),
            },
            MachineError::SocketPathTooLong {
                path: "/run/long/agent.sock".into(),
                length: 120,
                limit: 103,
            },
            init(""),
            init("sandbox: no"),
            MachineError::Busy {
                state_dir: "/s".into(),
            },
            MachineError::ForeignState {
                path: "/s".into(),
                owner: 1000,
            },
            MachineError::StillRunning { pid: 42 },
            MachineError::NoSnapshots { driver: "sandbox" },
            MachineError::Io {
                what: "open",
                path: "/s/lock".into(),
                source: io::ErrorKind::PermissionDenied.into(),
            },
        ];
        let text: Vec<String> = errors
            .iter()
            .map(|error| format!("error: {error}\nhint: {}\n", error.hint()))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
