//! Programs of the host: where they are, and running one to its end.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::error::QemuError;

/// How long a tool may take. Making an overlay takes milliseconds, a snapshot's removal a second.
const DEADLINE: Duration = Duration::from_secs(60);

/// Longest part of what a tool says of its failure, in characters.
const MAX_WHY: usize = 400;

/// Debian's package of `qemu-img`.
const IMAGE_PACKAGE: &str = "qemu-utils";

/// Where a program is on the `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_absolute() && program.is_file())
}

/// Where a program is on the `PATH`, or which package has it.
pub(super) fn needed(name: &str, package: &'static str) -> Result<PathBuf, QemuError> {
    find(name).ok_or_else(|| QemuError::MissingTool {
        tool: name.to_owned(),
        package,
    })
}

/// Runs `qemu-img` and gives what it prints; `what` names the order in errors.
pub(super) async fn qemu_img<A: AsRef<OsStr>>(
    what: &'static str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Vec<u8>, QemuError> {
    let program = needed("qemu-img", IMAGE_PACKAGE)?;
    let failed = |why: String| QemuError::Tool { tool: what, why };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, child)
        .await
        .map_err(|_| failed("it does not end".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(one_line(&output.stderr)))
    }
}

/// What a tool said, as a line that nothing obeys.
pub(super) fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let joined = text.trim().lines().collect::<Vec<_>>().join("; ");
    crate::sanitize::line(&joined)
        .chars()
        .take(MAX_WHY)
        .collect()
}
