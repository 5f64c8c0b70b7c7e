//! Why a virtual machine could not be made or asked, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

use super::qmp::QmpError;

#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("no disk image is named for this virtual machine")]
    NoImage,
    #[error("the disk image {0} is not there")]
    MissingImage(PathBuf),
    #[error("{path} is no disk image: {why}")]
    BadImage { path: PathBuf, why: String },
    #[error("the machine's disk was made from {made_from}, not from {image}")]
    OtherImage { made_from: PathBuf, image: PathBuf },
    #[error("the disk image {0} was written to after the machine's disk was made from it")]
    ImageChanged(PathBuf),
    #[error(
        "the machine's disk has {have_mib} MiB and cannot be made smaller: {wanted_mib} MiB are asked"
    )]
    Shrinks { have_mib: u64, wanted_mib: u32 },
    #[error("{tool} is not installed")]
    MissingTool {
        tool: String,
        /// Debian's name of what has it.
        package: &'static str,
    },
    #[error("no firmware for this architecture was found")]
    NoFirmware,
    #[error("{tool} failed: {why}")]
    Tool { tool: &'static str, why: String },
    #[error("QEMU did not start: {why}")]
    NotStarted {
        why: String,
        /// What it and its helpers wrote; may be empty.
        log: String,
    },
    #[error("every context id that was tried is taken")]
    NoContextId,
    #[error("QEMU does not {what}")]
    Monitor {
        what: &'static str,
        #[source]
        source: QmpError,
    },
    #[error("the guest did not let go of its vsock device within {0:?}")]
    DeviceKept(Duration),
    #[error("no snapshot is named {0}")]
    NoSnapshot(String),
    #[error("there is a snapshot named {0} already")]
    SnapshotExists(String),
    #[error("{0:?} cannot name a snapshot")]
    SnapshotName(String),
    #[error("the snapshot {name} failed: {why}")]
    Snapshot { name: String, why: String },
}

impl QemuError {
    /// What the user can do, in one or two sentences.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoImage => {
                "name one that contains the agent: `lkc-host up --driver qemu --image PATH`, \
                              or `image` in [cluster.NAME.vm]; `nix build` makes one from a flake"
                    .into()
            }
            Self::MissingImage(path) => format!(
                "make it again (`nix build` for one of a flake), or name another with --image; \
                 `ls -l {}` shows where a link leads",
                path.display()
            ),
            Self::BadImage { path, .. } => {
                format!("`qemu-img info {}` says more", path.display())
            }
            Self::OtherImage { made_from, .. } => format!(
                "`lkc-host delete` forgets the machine's data, and `lkc-host up` then starts from the \
                 new image; --image {} keeps it",
                made_from.display()
            ),
            Self::ImageChanged(_) => "what is on the disk rests on the image as it was: put that \
                                      back, or `lkc-host delete` and `lkc-host up` again"
                .into(),
            Self::Shrinks { .. } => {
                "ask for at least what it has, or `lkc-host delete` it first".into()
            }
            Self::MissingTool { tool, package } => {
                format!(
                    "install it: `sudo apt install {package}`, `brew install qemu`, or put {tool} on the PATH and run `lkc-host daemon stop`"
                )
            }
            Self::NoFirmware => "name it as `firmware` in [cluster.NAME.vm]; Debian has it in \
                                 qemu-efi-aarch64, Homebrew in qemu"
                .into(),
            Self::Tool { .. } => "its message names the cause; the file may be in use".into(),
            Self::NotStarted { .. } => "`lkc-host logs --source machine` has the guest's console; \
                                        QEMU's own words are above"
                .into(),
            Self::NoContextId => "stop another virtual machine, then run this again".into(),
            Self::Monitor { .. } => {
                "run again; if it stays, `lkc-host down` ends the machine by force".into()
            }
            Self::DeviceKept(_) => {
                "the guest may still be booting, or hang: `lkc-host status` shows it".into()
            }
            Self::NoSnapshot(_) => "`lkc-host snapshot list` shows them".into(),
            Self::SnapshotExists(name) => {
                format!("`lkc-host snapshot delete {name}` first, or take another name")
            }
            Self::SnapshotName(_) => {
                "a name has 1 to 40 of a-z, 0-9, `-`, `_` and `.`, and begins \
                                      with a letter or digit"
                    .into()
            }
            Self::Snapshot { .. } => "check the free space with `df`; the machine goes on".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_to_do() {
        let errors = [
            QemuError::NoImage,
            QemuError::MissingImage("/img/k3s.qcow2".into()),
            QemuError::BadImage {
                path: "/img/k3s.qcow2".into(),
                why: "Image is not in qcow2 format".into(),
            },
            QemuError::OtherImage {
                made_from: "/img/old.qcow2".into(),
                image: "/img/new.qcow2".into(),
            },
            QemuError::ImageChanged("/img/k3s.qcow2".into()),
            QemuError::Shrinks {
                have_mib: 20480,
                wanted_mib: 10240,
            },
            QemuError::MissingTool {
                tool: "qemu-system-x86_64".into(),
                package: "qemu-system-x86",
            },
            QemuError::NoFirmware,
            QemuError::Tool {
                tool: "qemu-img create",
                why: "No space left on device".into(),
            },
            QemuError::NotStarted {
                why: "it ended at once".into(),
                log: String::new(),
            },
            QemuError::NoContextId,
            QemuError::Monitor {
                what: "answer",
                source: QmpError::Silent("query-status"),
            },
            QemuError::DeviceKept(Duration::from_secs(20)),
            QemuError::NoSnapshot("before".into()),
            QemuError::SnapshotExists("before".into()),
            QemuError::SnapshotName("../x".into()),
            QemuError::Snapshot {
                name: "before".into(),
                why: "No space left on device".into(),
            },
        ];
        let text: Vec<String> = errors
            .iter()
            .map(|error| format!("error: {error}\nhint: {}\n", error.hint()))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
