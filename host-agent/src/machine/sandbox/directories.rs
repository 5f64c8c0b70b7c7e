//! The directories of a sandbox on the host: checked, made private, prepared for a start, removed;
//! and the lock that keeps two processes from doing so at once.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use nix::unistd::geteuid;

use super::{MACHINE_ID_FILE, RANCHER_DIR, ROOT_DIR, VAR_DIR};
use crate::machine::{AGENT_SOCKET, GUEST_CONFIG_DIR, MachineError, MachineSpec, Programs};

/// Bytes of a unix socket's path on the strictest system, which has 104 with the final zero.
const MAX_SOCKET_PATH: usize = 103;

/// Longest hostname that Linux takes and Kubernetes accepts as one label.
const MAX_NAME: usize = 63;

const LOCK_FILE: &str = "lock";

/// Refuses what could not work or would reach outside of the guest.
pub(super) fn check(spec: &MachineSpec) -> Result<(), MachineError> {
    let bad = |what, why: String| Err(MachineError::BadSpec { what, why });
    let name = &spec.name;
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.len() > MAX_NAME
        || !name.bytes().next().is_some_and(is_plain)
        || !name.bytes().next_back().is_some_and(is_plain)
        || !name
            .bytes()
            .all(|byte| is_plain(byte) || b"-.".contains(&byte))
    {
        return bad(
            "name",
            format!(
                "{name:?} has to be lower-case letters, digits, `-` and `.`, at most {MAX_NAME}"
            ),
        );
    }
    if spec.mac[0] & 1 == 1 || spec.mac == [0; 6] {
        return bad("MAC address", "it is a group's or empty".to_owned());
    }
    for (what, path) in [
        ("state directory", &spec.state_dir),
        ("runtime directory", &spec.runtime_dir),
        ("agent program", &spec.programs.guest_agent),
        ("k3s program", &spec.programs.k3s),
    ] {
        if !path.is_absolute() {
            return bad(what, format!("{} is not absolute", path.display()));
        }
    }
    for file in &spec.files {
        let inside = file.path.strip_prefix(GUEST_CONFIG_DIR).is_ok_and(|rest| {
            let mut parts = rest.components().peekable();
            parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
        });
        if !inside {
            return bad("file", format!("{} is elsewhere", file.path.display()));
        }
    }
    let socket = spec.runtime_dir.join(AGENT_SOCKET);
    let length = socket.as_os_str().as_bytes().len();
    if length > MAX_SOCKET_PATH {
        return Err(MachineError::SocketPathTooLong {
            path: socket,
            length,
            limit: MAX_SOCKET_PATH,
        });
    }
    Ok(())
}

pub(super) fn check_programs(programs: &Programs) -> Result<(), MachineError> {
    for (program, path) in [("lkc-guest", &programs.guest_agent), ("k3s", &programs.k3s)] {
        let runs = fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0);
        if !runs {
            return Err(MachineError::MissingProgram {
                program,
                path: path.clone(),
            });
        }
    }
    Ok(())
}

/// Makes `path` a directory of ours that nobody else can enter.
pub(super) fn make_private(path: &Path) -> Result<(), MachineError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(MachineError::io("make", path))?;
    let metadata = fs::metadata(path).map_err(MachineError::io("read", path))?;
    if metadata.uid() != geteuid().as_raw() {
        return Err(MachineError::ForeignState {
            path: path.to_owned(),
            owner: metadata.uid(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(MachineError::io("protect", path))?;
    }
    Ok(())
}

/// Makes everything that `sandbox-init` binds or mounts on.
pub(super) fn prepare(spec: &MachineSpec) -> Result<(), MachineError> {
    make_private(&spec.runtime_dir)?;
    for name in [ROOT_DIR, VAR_DIR, RANCHER_DIR] {
        let path = spec.state_dir.join(name);
        // What is in them is the guest's; that they are ours to enter is all that matters.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .map_err(MachineError::io("make", path))?;
    }
    let path = spec.state_dir.join(MACHINE_ID_FILE);
    if !path.exists() {
        write_machine_id(&path).map_err(MachineError::io("write", path))?;
    }
    Ok(())
}

/// Removes a directory and all in it, which may be large; that there is none is fine.
pub(super) async fn remove(path: &Path) -> Result<(), MachineError> {
    let owned = path.to_owned();
    tokio::task::spawn_blocking(move || remove_tree(&owned))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(MachineError::io("remove", path))
}

/// Held while a machine is looked for, started, stopped or deleted.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    pub(super) fn take(state_dir: &Path) -> Result<Self, MachineError> {
        let path = state_dir.join(LOCK_FILE);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(MachineError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(MachineError::Busy {
                state_dir: state_dir.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(MachineError::io("lock", path)(error)),
        }
    }
}

impl Drop for Lock {
    /// A child that is just being started holds a copy of the file for a moment, so closing ours
    /// is not enough.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn write_machine_id(path: &Path) -> io::Result<()> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    writeln!(file, "{}", uuid.trim().replace('-', ""))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        // The guest may have made directories that even their owner may not change.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open_up(root: &Path) -> io::Result<()> {
    let mut pending: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(())
}
