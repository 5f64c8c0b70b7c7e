//! Asks the ssh program what its configuration says.

use std::{io, path::Path, process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt, process::Command};

use super::{Settings, SettingsError};
use crate::carrier::ssh::{expand::LocalUser, target::Target};

/// Longest time that the program may take: a `Match exec` runs a command of the user's.
const DEADLINE: Duration = Duration::from_secs(5);

/// Most bytes taken of what it prints. A default configuration is 6 KiB.
const MAX_OUTPUT: u64 = 256 * 1024;

/// What `file`, or else the user's own configuration, says about `target`; the defaults where there
/// is no ssh program and no `file`.
///
/// # Errors
/// A program that fails, a file that is not there, a value that cannot be used here.
pub(in super::super) async fn query(
    target: &Target,
    file: Option<&Path>,
    local: &LocalUser,
) -> Result<Settings, SettingsError> {
    if let Some(file) = file
        && !file.is_file()
    {
        return Err(SettingsError::NoFile(file.to_owned()));
    }
    let mut command = Command::new("ssh");
    command.arg("-G");
    if let Some(file) = file {
        command.arg("-F").arg(file);
    }
    if let Some(user) = &target.user {
        command.arg("-l").arg(user);
    }
    if let Some(port) = target.port {
        command.arg("-p").arg(port.to_string());
    }
    command
        .arg("--")
        .arg(&target.host)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
            tracing::debug!(%target, "no ssh program: the defaults hold");
            return Ok(Settings::defaults(target, local));
        }
        Err(error) => return Err(SettingsError::Start(error)),
    };
    let printed = tokio::time::timeout(DEADLINE, output(child))
        .await
        .map_err(|_| SettingsError::Slow(DEADLINE.as_secs()))??;
    Settings::parse(&printed, target, local)
}

async fn output(mut child: tokio::process::Child) -> Result<String, SettingsError> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = async { tokio::try_join!(bounded(stdout), bounded(stderr)) };
    let (printed, complaints) = read.await.map_err(SettingsError::Start)?;
    let status = child.wait().await.map_err(SettingsError::Start)?;
    if status.success() {
        return Ok(printed);
    }
    let reason = complaints.lines().last().unwrap_or("it says nothing");
    Err(SettingsError::Refused(crate::sanitize::line(reason)))
}

async fn bounded(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
