//! Starting a daemon: one at a time, detached, and only believed when it says that it is ready.

use std::{fs::File, io, os::unix::fs::OpenOptionsExt, path::Path, process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::{Request, call};
use crate::{
    error::{CommandError, Kind},
    paths::{
        Paths,
        private::{self, FILE_MODE},
    },
};

/// How long a daemon may take until it is ready. It waits up to ten seconds for one that ends, and
/// binds the listeners of every cluster that runs.
const READY_DEADLINE: Duration = Duration::from_secs(15);

/// How long others who start a daemon may take: theirs will do for us.
const TURN_DEADLINE: Duration = Duration::from_secs(30);

/// How long a daemon of another version may take to end.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// Lines of the log that explain why none started.
const LOG_LINES: usize = 10;

/// Most of the log that is read for them, in bytes.
const MAX_LOG: usize = 8 * 1024 * 1024;

/// Starts a daemon unless somebody else has meanwhile.
///
/// # Errors
/// `HostIo` with the log's last lines, or `Timeout`.
pub(super) async fn start(paths: &Paths, program: &Path) -> Result<(), CommandError> {
    private::private_dir(paths.state_dir(), paths.uid())?;
    private::private_dir(paths.runtime_dir(), paths.uid())?;
    let _turn = take_turn(paths).await?;
    let client = super::Client {
        paths: paths.clone(),
        program: None,
    };
    // To be connected is not enough: one that is ending takes connections to its last moment.
    if client.daemon().await.is_ok() {
        return Ok(());
    }
    spawn(paths, program).await
}

/// Asks the daemon of another version to end, and starts one of ours.
///
/// # Errors
/// As [`start`], and `Conflict` when the other does not end.
pub(super) async fn replace(paths: &Paths, program: &Path) -> Result<(), CommandError> {
    private::private_dir(paths.runtime_dir(), paths.uid())?;
    let _turn = take_turn(paths).await?;
    match (super::Client {
        paths: paths.clone(),
        program: None,
    })
    .daemon()
    .await
    {
        Ok(info) if info.version == env!("CARGO_PKG_VERSION") => return Ok(()),
        Ok(_) => {
            let end = async {
                if let Ok(mut replies) = call(paths, Request::StopDaemon).await {
                    replies.closed().await;
                }
            };
            if timeout(END_DEADLINE, end).await.is_err() {
                return Err(CommandError::new(
                    Kind::Conflict,
                    "the daemon of another version does not end",
                )
                .hint("`lkc-host daemon status` says which process it is: end it"));
            }
        }
        Err(_) => {}
    }
    spawn(paths, program).await
}

/// Waits for our turn to start a daemon, so that many at once start one.
async fn take_turn(paths: &Paths) -> Result<File, CommandError> {
    let path = paths.runtime_dir().join("start.lock");
    let failed = |error: io::Error| {
        CommandError::new(
            Kind::HostIo,
            format!("cannot lock {}: {error}", path.display()),
        )
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(failed)?;
    // The kernel's lock has no deadline: a thread waits for it, and ends with the process.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = sender.send(file.lock().map(|()| file));
    });
    match timeout(TURN_DEADLINE, receiver).await {
        Ok(Ok(locked)) => locked.map_err(failed),
        Ok(Err(_)) | Err(_) => Err(CommandError::new(
            Kind::Conflict,
            "another command has been starting the daemon for too long",
        )
        .hint(format!("end the process that has {} open", path.display()))),
    }
}

async fn spawn(paths: &Paths, program: &Path) -> Result<(), CommandError> {
    let log = paths.daemon_log();
    let failed = |what: String| {
        move |error: io::Error| CommandError::new(Kind::HostIo, format!("{what}: {error}"))
    };
    let stderr = File::options()
        .create(true)
        .append(true)
        .mode(FILE_MODE)
        .open(&log)
        .map_err(failed(format!("cannot write {}", log.display())))?;
    let mut daemon = Command::new(program)
        .args(["daemon", "run"])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(failed(format!("cannot start {}", program.display())))?;
    let Some(mut pipe) = daemon.stdout.take() else {
        return Err(CommandError::new(
            Kind::Bug,
            "the daemon has no standard output",
        ));
    };
    let mut byte = [0];
    match timeout(READY_DEADLINE, pipe.read_exact(&mut byte)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(with_log(
            CommandError::new(Kind::HostIo, "the daemon ended before it was ready"),
            &log,
        )),
        Err(_) => Err(with_log(
            CommandError::new(
                Kind::Timeout,
                format!(
                    "the daemon was not ready within {} s",
                    READY_DEADLINE.as_secs()
                ),
            ),
            &log,
        )),
    }
}

/// Adds the last lines of the daemon's log, which say why.
fn with_log(mut error: CommandError, log: &Path) -> CommandError {
    let bytes = private::read_bounded(log, MAX_LOG).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let excess = lines.len().saturating_sub(LOG_LINES);
    error.tail = lines[excess..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect();
    error.hint("`lkc-host daemon log` shows all of it")
}
