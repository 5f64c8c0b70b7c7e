//! The daemon's log: a file of bounded size, or the terminal when it runs on one.

use std::{
    fs::{self, File},
    io::{self, IsTerminal},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Mutex,
};

use tracing_subscriber::EnvFilter;

use crate::{
    error::{CommandError, Kind},
    paths::private::FILE_MODE,
};

/// A log that is longer, in bytes, makes place for a new one when a daemon starts; one old log is
/// kept.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Variable that says what is logged, as `lkc_host=debug`.
const FILTER: &str = "LKC_LOG";

/// Sends what is logged, and what a panic says, to `path`, or to the terminal if there is one.
///
/// # Errors
/// `HostIo` when the file cannot be had.
pub(super) fn init(path: &Path) -> Result<(), CommandError> {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    // Whoever runs two daemons in one process, as tests do, has one log.
    if io::stderr().is_terminal() {
        let _ = builder.with_writer(io::stderr).try_init();
        return Ok(());
    }
    let failed = |source: io::Error| {
        CommandError::new(
            Kind::HostIo,
            format!("cannot write the log {}: {source}", path.display()),
        )
    };
    rotate(path).map_err(failed)?;
    let file = open(path).map_err(failed)?;
    nix::unistd::dup2_stderr(&file).map_err(|errno| failed(errno.into()))?;
    let _ = builder
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .try_init();
    Ok(())
}

/// Opens the log to add to it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .open(path)
}

fn rotate(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > LONGEST => fs::rename(path, path.with_extension("log.1")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_too_long_makes_place_and_one_old_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.log");
        rotate(&path).unwrap();
        for round in 0..3 {
            let file = open(&path).unwrap();
            file.set_len(LONGEST + round).unwrap();
            rotate(&path).unwrap();
        }
        let old = fs::metadata(dir.path().join("daemon.log.1")).unwrap();
        assert_eq!(old.len(), LONGEST + 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
