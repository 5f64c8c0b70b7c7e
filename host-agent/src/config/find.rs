//! Finds the configuration file and reads it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{FILE_NAME, problem::Problem, problem::SourceText};
use crate::{
    error::Kind,
    paths::{
        Paths,
        private::{ReadError, read_bounded},
    },
};

/// Longest file read, in bytes. Ninety clusters need a hundredth of it.
pub(super) const LONGEST_FILE: usize = 1 << 20;

/// Reads the file that holds: the explicit one, else the nearest from `cwd` upwards, else the
/// user's own, else the system's. There may be none.
pub(super) fn read(
    explicit: Option<&Path>,
    cwd: &Path,
    paths: &Paths,
) -> Result<Option<SourceText>, Problem> {
    if let Some(explicit) = explicit {
        return read_file(cwd.join(explicit)).map(Some);
    }
    for candidate in cwd.ancestors().map(|directory| directory.join(FILE_NAME)) {
        if let Some(owner) = owner_of(&candidate)? {
            verify_owner(&candidate, owner, paths.uid())?;
            return read_file(candidate).map(Some);
        }
    }
    let own = paths.config_file();
    if owner_of(&own)?.is_some() {
        return read_file(own).map(Some);
    }
    for candidate in paths.system_config_files() {
        if let Some(owner) = owner_of(&candidate)? {
            verify_owner(&candidate, owner, paths.uid())?;
            return read_file(candidate).map(Some);
        }
    }
    Ok(None)
}

/// The user that a file belongs to; none when there is no file.
fn owner_of(path: &Path) -> Result<Option<u32>, Problem> {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.uid())),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => {
            Ok(None)
        }
        Err(error) => Err(unreadable(path, &error)),
    }
}

/// A file says which program runs as k3s, so one that somebody else left in a directory above,
/// `/tmp` for one, must not be taken up by accident.
fn verify_owner(path: &Path, owner: u32, uid: u32) -> Result<(), Problem> {
    if owner == uid || owner == 0 {
        return Ok(());
    }
    let path = path.display();
    let message = format!("{path} belongs to user {owner}, not to you (user {uid})");
    let help = format!("if you trust it, name it: --config {path}");
    Err(Problem::new(Kind::BadInput, message).help(help))
}

fn read_file(path: PathBuf) -> Result<SourceText, Problem> {
    let bytes = read_bounded(&path, LONGEST_FILE).map_err(|error| match error {
        ReadError::TooLong { limit } => {
            let message = format!("{} is longer than {limit} bytes", path.display());
            Problem::new(Kind::BadInput, message)
        }
        ReadError::Io(error) => unreadable(&path, &error),
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceText { path, text }),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count()
                + 1;
            let message = format!("{} is not UTF-8 in line {line}", path.display());
            Err(Problem::new(Kind::BadInput, message))
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Kind::BadInput,
        _ => Kind::HostIo,
    };
    Problem::new(kind, format!("cannot read {}: {error}", path.display()))
}
