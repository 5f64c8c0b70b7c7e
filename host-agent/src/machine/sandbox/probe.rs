//! Whether a sandbox can be entered here, found out by entering one, and if not, whose fault it is.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use super::report::{Failure, Report, SandboxMode};
use super::{ENTER_COMMAND, MAX_REPORT_BYTES, PROBE_OPTION, SELF};
use crate::machine::{MachineError, Sysctl};

/// Tries to enter namespaces in a process of its own, which takes milliseconds.
///
/// # Errors
/// [`MachineError::NoUserNamespaces`] names the kernel setting that forbids it, if one does.
pub fn probe() -> Result<SandboxMode, MachineError> {
    let mut child = Command::new(SELF)
        .args([ENTER_COMMAND, PROBE_OPTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(MachineError::io("run", SELF))?;
    let mut answer = Vec::new();
    let read = child.stdout.take().map_or(Ok(0), |stdout| {
        stdout.take(MAX_REPORT_BYTES).read_to_end(&mut answer)
    });
    child.wait().map_err(MachineError::io("wait for", SELF))?;
    read.map_err(MachineError::io("read from", SELF))?;
    match serde_json::from_slice(&answer) {
        Ok(Report::Entered(mode)) => Ok(mode),
        Ok(Report::Failed(failure)) => Err(no_namespaces(&failure)),
        Ok(_) | Err(_) => Err(MachineError::InitFailed {
            step: "probe".to_owned(),
            why: "the probe gave no answer".to_owned(),
            console: String::new(),
        }),
    }
}

pub(super) fn no_namespaces(failure: &Failure) -> MachineError {
    MachineError::NoUserNamespaces {
        why: format!("cannot {}: {}", failure.step, failure.why),
        sysctl: culprit(Path::new("/proc/sys")),
    }
}

/// The setting that forbids user namespaces to users other than root, as distributions have them.
fn culprit(sysctls: &Path) -> Option<Sysctl> {
    const KNOWN: [(&str, &str, &str, &str); 3] = [
        (
            "kernel/unprivileged_userns_clone",
            "kernel.unprivileged_userns_clone",
            "0",
            "1",
        ),
        (
            "user/max_user_namespaces",
            "user.max_user_namespaces",
            "0",
            "15000",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "0",
        ),
    ];
    KNOWN
        .into_iter()
        .find(|(path, _, forbids, _)| {
            fs::read_to_string(sysctls.join(path)).is_ok_and(|value| value.trim() == *forbids)
        })
        .map(|(_, name, _, value)| Sysctl { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn culprit_with(settings: &[(&str, &str)]) -> Option<String> {
        let sysctls = tempfile::tempdir().unwrap();
        for (path, value) in settings {
            let path = sysctls.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        culprit(sysctls.path()).map(|Sysctl { name, value }| format!("{name}={value}"))
    }

    #[test]
    fn each_distribution_has_its_own_culprit() {
        assert_eq!(culprit_with(&[]), None);
        assert_eq!(
            culprit_with(&[
                ("kernel/unprivileged_userns_clone", "1"),
                ("user/max_user_namespaces", "96365"),
                ("kernel/apparmor_restrict_unprivileged_userns", "0"),
            ]),
            None
        );
        assert_eq!(
            culprit_with(&[("kernel/unprivileged_userns_clone", "0")]).as_deref(),
            Some("kernel.unprivileged_userns_clone=1")
        );
        assert_eq!(
            culprit_with(&[
                ("kernel/unprivileged_userns_clone", "1"),
                ("kernel/apparmor_restrict_unprivileged_userns", "1"),
            ])
            .as_deref(),
            Some("kernel.apparmor_restrict_unprivileged_userns=0")
        );
        assert_eq!(
            culprit_with(&[("user/max_user_namespaces", "0")]).as_deref(),
            Some("user.max_user_namespaces=15000")
        );
    }
}
