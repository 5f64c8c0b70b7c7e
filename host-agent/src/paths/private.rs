//! Directories and files that nobody else can read or replace.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::error::{CommandError, Kind};

/// Mode of a private directory.
pub const DIRECTORY_MODE: u32 = 0o700;
/// Mode of a private file.
pub const FILE_MODE: u32 = 0o600;

/// Why a directory or a file is not as private as it must be, or not there at all.
#[derive(Debug, Error)]
pub enum PrivateError {
    /// Something else is in the place of a directory.
    #[error("{path} is {found}, not a directory")]
    NotADirectory {
        /// The place.
        path: PathBuf,
        /// What is there: `a symbolic link`.
        found: &'static str,
    },
    /// The directory is somebody else's.
    #[error("{path} belongs to user {owner}, not to you (user {uid})")]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who should.
        uid: u32,
    },
    /// Others may enter.
    #[error("{path} is open to other users (mode {mode:04o})")]
    OpenToOthers {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried: `create`.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl PrivateError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotADirectory { path, .. } => Some(format!("move {} away", path.display())),
            Self::ForeignOwner { path, .. } => Some(format!(
                "move {} away, or set XDG_RUNTIME_DIR and XDG_STATE_HOME to directories of yours",
                path.display()
            )),
            Self::OpenToOthers { path, .. } => Some(format!(
                "look whether the files in it are yours, then run chmod 700 {}",
                path.display()
            )),
            Self::Io { .. } => None,
        }
    }
}

impl From<PrivateError> for CommandError {
    fn from(error: PrivateError) -> Self {
        let hint = error.hint();
        let command_error = Self::new(Kind::HostIo, error);
        match hint {
            Some(hint) => command_error.hint(hint),
            None => command_error,
        }
    }
}

/// Makes `path` a directory of mode 0700 unless it is one, with what lies above it, and verifies
/// that it is a real directory of user `uid` that nobody else may enter. What lies above is not
/// verified: a directory below one of ours is private only if that was verified before.
pub fn private_dir(path: &Path, uid: u32) -> Result<(), PrivateError> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(parent)
            .map_err(PrivateError::io("create", parent))?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(PrivateError::io("create", path)(error)),
    }
    verify_dir(path, uid)
}

/// Verifies that `path` is a real directory of user `uid` that nobody else may enter.
pub fn verify_dir(path: &Path, uid: u32) -> Result<(), PrivateError> {
    let metadata = fs::symlink_metadata(path).map_err(PrivateError::io("examine", path))?;
    let path = path.to_owned();
    if metadata.is_symlink() {
        return Err(PrivateError::NotADirectory {
            path,
            found: "a symbolic link",
        });
    }
    if !metadata.is_dir() {
        return Err(PrivateError::NotADirectory {
            path,
            found: "a file",
        });
    }
    if metadata.uid() != uid {
        return Err(PrivateError::ForeignOwner {
            path,
            owner: metadata.uid(),
            uid,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(PrivateError::OpenToOthers { path, mode });
    }
    Ok(())
}

/// Replaces `path` by a file of `mode` with this content, at once and for good: a reader sees the
/// old file or the new one, whole, and a crash leaves one of them. A symbolic link in the place is
/// replaced, not followed.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), PrivateError> {
    replace(path, content, mode, None)
}

/// As [`write_atomically`], for a file that keeps its owner and group when root rewrites it.
pub fn write_atomically_for(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: (u32, u32),
) -> Result<(), PrivateError> {
    replace(path, content, mode, Some(owner))
}

fn replace(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> Result<(), PrivateError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |action| PrivateError::io(action, path);
    let mut file = tempfile::Builder::new()
        .prefix(".lkc-")
        .tempfile_in(directory)
        .map_err(failed("write a file beside"))?;
    if let Some(owner) = owner {
        give_to(file.as_file(), owner).map_err(failed("keep the owner of"))?;
    }
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    file.write_all(content).map_err(failed("write"))?;
    file.as_file().sync_all().map_err(failed("write"))?;
    file.persist(path)
        .map_err(|error| failed("replace")(error.error))?;
    let directory_file = File::open(directory).map_err(PrivateError::io("open", directory))?;
    directory_file
        .sync_all()
        .map_err(PrivateError::io("sync", directory))
}

/// A group that we are not in cannot be kept, which does no harm.
fn give_to(file: &File, (uid, gid): (u32, u32)) -> io::Result<()> {
    let made = file.metadata()?;
    if (made.uid(), made.gid()) == (uid, gid) {
        return Ok(());
    }
    match fchown(file, Some(uid), Some(gid)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && made.uid() == uid => {
            Ok(())
        }
        given => given,
    }
}

/// As [`write_atomically`], but leaves a regular file that already has this content and mode
/// alone. Returns whether it wrote.
pub fn write_if_changed(path: &Path, content: &[u8], mode: u32) -> Result<bool, PrivateError> {
    if is_already(path, content, mode) {
        return Ok(false);
    }
    write_atomically(path, content, mode)?;
    Ok(true)
}

fn is_already(path: &Path, content: &[u8], mode: u32) -> bool {
    let same_shape = fs::symlink_metadata(path).is_ok_and(|metadata| {
        metadata.is_file()
            && metadata.mode() & 0o7777 == mode
            && metadata.len() == u64::try_from(content.len()).unwrap_or(u64::MAX)
    });
    same_shape && fs::read(path).is_ok_and(|found| found == content)
}

/// Why a file could not be read whole.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It has more than the limit.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a file of at most `limit` bytes; never more than that is held in memory.
pub fn read_bounded(path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut content = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(one_more).read_to_end(&mut content)?;
    if content.len() > limit {
        Err(ReadError::TooLong { limit })
    } else {
        Ok(content)
    }
}

/// Removes a file; returns whether there was one.
pub fn remove_file(path: &Path) -> Result<bool, PrivateError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PrivateError::io("remove", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn uid() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_private_directory_is_made_once_and_then_accepted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        private_dir(&path, uid()).unwrap();
        private_dir(&path, uid()).unwrap();
        assert_eq!((mode(&path), mode(&root.path().join("a"))), (0o700, 0o700));
    }

    #[test]
    fn what_is_not_private_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        private_dir(&real, uid()).unwrap();
        let link = root.path().join("link");
        symlink(&real, &link).unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        for (path, uid, expected) in [
            (
                &link,
                uid(),
                "link is a symbolic link, not a directory".to_owned(),
            ),
            (&file, uid(), "file is a file, not a directory".to_owned()),
            (
                &open,
                uid(),
                "open is open to other users (mode 0755)".to_owned(),
            ),
            (
                &real,
                uid() + 1,
                format!(
                    "real belongs to user {}, not to you (user {})",
                    uid(),
                    uid() + 1
                ),
            ),
        ] {
            let error = private_dir(path, uid).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{}/{expected}", root.path().display())
            );
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        let target = root.path().join("target");
        fs::write(&target, "untouched").unwrap();
        symlink(&target, &path).unwrap();
        assert!(write_if_changed(&path, b"one", 0o600).unwrap());
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"one".to_vec(), 0o600)
        );
        assert_eq!(fs::read(&target).unwrap(), b"untouched");
        assert!(!write_if_changed(&path, b"one", 0o600).unwrap());
        assert!(write_if_changed(&path, b"one", 0o644).unwrap());
        assert!(write_if_changed(&path, b"two", 0o644).unwrap());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = write_atomically(Path::new("/nonexistent/x"), b"", 0o600).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot write a file beside /nonexistent/x"
        );
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(matches!(
            read_bounded(&path, 4),
            Err(ReadError::TooLong { limit: 4 })
        ));
        assert!(matches!(
            read_bounded(Path::new("/dev/zero"), 4),
            Err(ReadError::TooLong { .. })
        ));
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("f");
        fs::write(&path, "").unwrap();
        assert!(remove_file(&path).unwrap());
        assert!(!remove_file(&path).unwrap());
    }
}
