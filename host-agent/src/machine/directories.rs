//! The directories of a machine on the host: checked, made private, removed; and the lock that keeps
//! two processes from doing so at once.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::{CONSOLE_FILE, MachineError};

/// Bytes of a unix socket's path on the strictest system, which has 104 with the final zero.
const MAX_SOCKET_PATH: usize = 103;

/// Longest hostname that Linux takes and Kubernetes accepts as one label.
const MAX_NAME: usize = 63;

const LOCK_FILE: &str = "lock";

const CONSOLE_TAIL_BYTES: u64 = 4096;

/// Refuses a name that cannot be a node's.
pub(super) fn check_name(name: &str) -> Result<(), MachineError> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let legal = name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(is_plain)
        && name.bytes().next_back().is_some_and(is_plain)
        && name
            .bytes()
            .all(|byte| is_plain(byte) || b"-.".contains(&byte));
    if legal {
        return Ok(());
    }
    Err(MachineError::BadSpec {
        what: "name",
        why: format!(
            "{name:?} has to be lower-case letters, digits, `-` and `.`, at most {MAX_NAME}"
        ),
    })
}

/// Refuses an address that no interface can have.
pub(super) fn check_mac(mac: [u8; 6]) -> Result<(), MachineError> {
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(MachineError::BadSpec {
            what: "MAC address",
            why: "it is a group's or empty".to_owned(),
        });
    }
    Ok(())
}

/// Refuses a path that is relative to who knows what.
pub(super) fn check_absolute(what: &'static str, path: &Path) -> Result<(), MachineError> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(MachineError::BadSpec {
        what,
        why: format!("{} is not absolute", path.display()),
    })
}

/// Refuses a socket's path that is too long for one.
pub(super) fn check_socket(socket: PathBuf) -> Result<(), MachineError> {
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

/// A console for this run; the one of the run before is kept beside it.
pub(super) fn open_console(state_dir: &Path) -> Result<File, MachineError> {
    let path = state_dir.join(CONSOLE_FILE);
    match fs::rename(&path, path.with_extension("log.old")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(MachineError::io("rename", path)(error));
        }
        _ => {}
    }
    OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(MachineError::io("make", path))
}

/// The end of the console, for a person: whole lines, nothing that a terminal would obey.
pub(super) fn console_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(CONSOLE_TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes)
        .chars()
        .filter(|character| *character == '\n' || !character.is_control())
        .collect::<String>()
        .trim()
        .to_owned())
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
