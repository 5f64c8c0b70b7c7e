//! One daemon per user: a lock that is held for as long as the process lives.

use std::{
    fs::{File, TryLockError},
    io,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    sync::mpsc,
    time::Duration,
};

use crate::{
    error::{CommandError, Kind},
    paths::{Paths, private::FILE_MODE},
};

/// How long a daemon that is ending may take to let go of the lock.
const HANDOVER: Duration = Duration::from_secs(10);

/// Takes the daemon's lock. When the one who has it takes no requests any more, it is ending, and
/// its end is waited for.
///
/// # Errors
/// `Conflict` when a daemon runs, `HostIo` when the lock file cannot be had.
pub(super) fn take(paths: &Paths) -> Result<File, CommandError> {
    let path = paths.daemon_lock();
    let file = open(paths).map_err(|source| {
        CommandError::new(
            Kind::HostIo,
            format!("cannot open {}: {source}", path.display()),
        )
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) if UnixStream::connect(paths.control_socket()).is_ok() => {
            Err(
                CommandError::new(Kind::Conflict, "the daemon of this user runs already")
                    .hint("`lkc-host daemon status` says which one it is"),
            )
        }
        Err(TryLockError::WouldBlock) => wait(file),
        Err(TryLockError::Error(source)) => Err(CommandError::new(
            Kind::HostIo,
            format!("cannot lock {}: {source}", path.display()),
        )),
    }
}

fn open(paths: &Paths) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(paths.daemon_lock())
}

/// The kernel's lock has no deadline, so a thread waits for it and we wait for the thread.
fn wait(file: File) -> Result<File, CommandError> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        if file.lock().is_ok() {
            let _ = sender.send(file);
        }
    });
    receiver.recv_timeout(HANDOVER).map_err(|_| {
        CommandError::new(
            Kind::Conflict,
            format!(
                "the daemon before this one did not end within {} s",
                HANDOVER.as_secs()
            ),
        )
        .hint("look for an `lkc-host daemon` that hangs, and end it")
    })
}
