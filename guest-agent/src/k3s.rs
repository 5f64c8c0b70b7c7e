//! k3s on this machine: its configuration, its process, and the credentials that it writes.
//!
//! [`dropin`] writes our part of its configuration; [`process`] runs it where no service manager
//! does, [`mod@unit`] watches it where systemd does, [`K3s`] is the handle to either; [`credentials`]
//! reads what it hands out. What it says about itself in the API is the
//! business of [`crate::observe`].

pub mod credentials;
pub mod dropin;
pub(crate) mod encoding;
mod handle;
mod kept;
mod pidfd;
pub mod process;
mod runner;
pub mod unit;

use std::path::{Path, PathBuf};

pub(crate) use handle::Request;
pub use handle::{K3s, K3sError};
pub use kept::bring_back;
pub(crate) use kept::is_kept;
pub(crate) use pidfd::Pidfd;
pub use runner::Runner;

/// Where what k3s needs is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct K3sPaths {
    /// Configuration directory, k3s' own default is `/etc/rancher/k3s`.
    pub etc_dir: PathBuf,
    /// Data directory, k3s' own default is `/var/lib/rancher/k3s`.
    pub data_dir: PathBuf,
    /// Our own runtime directory, where the pid file is.
    pub run_dir: PathBuf,
    /// Our own directory that outlives a boot.
    pub state_dir: PathBuf,
    /// What k3s prints, where the agent runs it.
    pub log_path: PathBuf,
}

impl K3sPaths {
    /// k3s' default directory of configuration.
    pub const ETC_DIR: &'static str = "/etc/rancher/k3s";
    /// k3s' default directory of data.
    pub const DATA_DIR: &'static str = "/var/lib/rancher/k3s";

    /// k3s' own defaults, and `/run/lkc`, `/var/lib/lkc` and `/var/log/k3s.log` for us.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            etc_dir: Self::ETC_DIR.into(),
            data_dir: Self::DATA_DIR.into(),
            run_dir: "/run/lkc".into(),
            state_dir: "/var/lib/lkc".into(),
            log_path: "/var/log/k3s.log".into(),
        }
    }

    /// Everything below one directory, for a k3s that shares its machine.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            etc_dir: root.join("etc"),
            data_dir: root.join("data"),
            run_dir: root.join("run"),
            state_dir: root.join("state"),
            log_path: root.join("k3s.log"),
        }
    }

    /// The kubeconfig that a server writes.
    #[must_use]
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.etc_dir.join("k3s.yaml")
    }

    /// Our part of the configuration.
    #[must_use]
    pub fn dropin_path(&self) -> PathBuf {
        self.etc_dir.join("config.yaml.d").join("50-lkc.yaml")
    }

    /// A copy of it that outlives a boot.
    pub(crate) fn kept_path(&self) -> PathBuf {
        self.state_dir.join("k3s.yaml")
    }

    pub(crate) fn pid_path(&self) -> PathBuf {
        self.run_dir.join("k3s.pid")
    }
}
