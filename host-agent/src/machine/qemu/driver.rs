//! Whether the guest's driver of a vsock device runs, which QEMU tells when it is asked and not by
//! itself.
//!
//! `vhost-device-vsock` does not survive being asked for a connection between the moment at which it
//! is told the guest's memory and the one at which it is told the queues in it. So its socket has a
//! name that nobody asks until the driver runs.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::VSOCK_DEVICE;

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The monitor's command that tells.
pub(super) const STATUS: &str = "x-query-virtio-status";

/// Its arguments.
pub(super) fn of_vsock() -> Value {
    json!({"path": format!("/machine/peripheral/{VSOCK_DEVICE}/virtio-backend")})
}

/// What of its answer is of interest.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Status {
    #[serde(rename = "vhost-started")]
    pub(super) runs: bool,
}

/// Gives a socket another name, if it is there.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_answers() {
        for (answer, runs) in [
            (
                r#"{"name": "vhost-vsock", "started": false, "vhost-started": false}"#,
                false,
            ),
            (
                r#"{"status": {"statuses": []}, "num-vqs": 3, "vhost-started": true}"#,
                true,
            ),
            ("{}", false),
        ] {
            let status: Status = serde_json::from_str(answer).unwrap();
            assert_eq!(status.runs, runs, "{answer}");
        }
    }

    #[test]
    fn a_socket_that_is_not_there_is_not_renamed() {
        let dir = tempfile::tempdir().unwrap();
        let (hidden, shown) = (dir.path().join("hidden"), dir.path().join("shown"));
        rename(&hidden, &shown).unwrap();
        fs::write(&hidden, "").unwrap();
        rename(&hidden, &shown).unwrap();
        assert!(shown.exists() && !hidden.exists());
    }
}
