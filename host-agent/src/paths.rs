//! Where files live: XDG directories on every operating system, and what is below them.
//!
//! Nothing here reads the environment except [`Paths::of_this_process`], and nothing makes a
//! directory: that is [`private::private_dir`]'s part.

pub mod cluster;
pub mod private;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

pub use cluster::ClusterPaths;
use thiserror::Error;

use crate::{
    config::ClusterName,
    error::{CommandError, Kind},
};

/// Longest path that every system takes as a unix socket's address, in bytes: macOS has 104 with
/// the terminating zero, Linux 108.
pub const LONGEST_SOCKET_PATH: usize = 103;

/// Longest file name, in bytes, that callers may put into a runtime directory for a socket.
pub const LONGEST_SOCKET_NAME: usize = 20;

/// Why the paths cannot be known.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PathsError {
    /// `HOME` is not there.
    #[error("the environment variable HOME is not set")]
    NoHome,
    /// `HOME` depends on the working directory.
    #[error("the environment variable HOME is not an absolute path: {0:?}")]
    RelativeHome(OsString),
}

impl From<PathsError> for CommandError {
    fn from(error: PathsError) -> Self {
        Self::new(Kind::HostIo, error).hint("set HOME to your home directory")
    }
}

/// Where one user's files live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    home: PathBuf,
    config: PathBuf,
    system_config: Vec<PathBuf>,
    state: PathBuf,
    runtime: PathBuf,
    uid: u32,
}

impl Paths {
    /// The paths that `environment` leads to for the user `uid`. Relative values of `XDG_*` are
    /// ignored, as the XDG specification asks, and so are empty ones.
    pub fn from_env(
        environment: &dyn Fn(&str) -> Option<OsString>,
        uid: u32,
    ) -> Result<Self, PathsError> {
        let home = match environment("HOME") {
            None => return Err(PathsError::NoHome),
            Some(home) if home.is_empty() => return Err(PathsError::NoHome),
            Some(home) => PathBuf::from(home),
        };
        if !home.is_absolute() {
            return Err(PathsError::RelativeHome(home.into()));
        }
        let directory = |variable: &str| {
            environment(variable)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let config = directory("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let system_config = environment("XDG_CONFIG_DIRS")
            .filter(|directories| !directories.is_empty())
            .unwrap_or_else(|| "/etc/xdg".into());
        let state = directory("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        let runtime = directory("XDG_RUNTIME_DIR")
            .or_else(|| private_temporary(&directory))
            .map(|path| path.join("lkc"))
            .filter(|path| holds_socket(path))
            .unwrap_or_else(|| shared_temporary(uid));
        Ok(Self {
            config: config.join("lkc"),
            system_config: std::env::split_paths(&system_config)
                .filter(|path| path.is_absolute())
                .map(|path| path.join("lkc"))
                .collect(),
            state: state.join("lkc"),
            runtime,
            home,
            uid,
        })
    }

    /// The paths of the user who runs this process.
    pub fn of_this_process() -> Result<Self, PathsError> {
        Self::from_env(
            &|name| std::env::var_os(name),
            nix::unistd::geteuid().as_raw(),
        )
    }

    /// The user that the directories must belong to.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// The user's home directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Directory of the user's own configuration.
    #[must_use]
    pub fn config_dir(&self) -> &Path {
        &self.config
    }

    /// The configuration that holds when none is found nearer.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("lkc.toml")
    }

    /// The configurations of the system, one of which holds when the user has none, best first.
    pub fn system_config_files(&self) -> impl Iterator<Item = PathBuf> {
        self.system_config
            .iter()
            .map(|directory| directory.join("lkc.toml"))
    }

    /// Directory of what outlives a reboot. Private.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Directory of sockets and locks. Private, and gone after a reboot.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }

    /// Socket on which the daemon takes requests.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join("control.sock")
    }

    /// File that the daemon keeps locked for as long as it lives.
    #[must_use]
    pub fn daemon_lock(&self) -> PathBuf {
        self.runtime.join("daemon.lock")
    }

    /// What the daemon logs.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    /// Directory with one directory for each cluster.
    #[must_use]
    pub fn clusters_dir(&self) -> PathBuf {
        self.state.join("clusters")
    }

    /// Where the files of one cluster live.
    #[must_use]
    pub fn cluster(&self, name: &ClusterName) -> ClusterPaths {
        ClusterPaths::new(self, name)
    }

    /// Names of the clusters that have a directory, sorted. Directories that no cluster can have
    /// are passed over.
    pub fn known_clusters(&self) -> io::Result<Vec<ClusterName>> {
        let entries = match std::fs::read_dir(self.clusters_dir()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        names.sort();
        Ok(names)
    }
}

/// Whether a socket and a cluster's directory with one fit into `runtime`.
fn holds_socket(runtime: &Path) -> bool {
    let hashed_cluster = "/0123456789abcdef".len();
    let socket = 1 + LONGEST_SOCKET_NAME;
    runtime.as_os_str().len() + hashed_cluster + socket <= LONGEST_SOCKET_PATH
}

/// macOS gives each user a private directory for temporary files.
#[cfg(target_os = "macos")]
fn private_temporary(directory: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    directory("TMPDIR")
}

/// `TMPDIR` is shared elsewhere and differs between a user's sessions, who must meet in one place.
#[cfg(not(target_os = "macos"))]
fn private_temporary(_directory: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    None
}

/// A directory that others could have made before us, which is why its owner is verified.
fn shared_temporary(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/lkc-{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(environment: &[(&str, &str)]) -> Result<Paths, PathsError> {
        let lookup = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        };
        Paths::from_env(&lookup, 1000)
    }

    #[test]
    fn without_xdg_variables_the_home_directory_decides() {
        let paths = paths(&[("HOME", "/home/u")]).unwrap();
        assert_eq!(
            paths.config_file(),
            Path::new("/home/u/.config/lkc/lkc.toml")
        );
        assert_eq!(
            paths.daemon_log(),
            Path::new("/home/u/.local/state/lkc/daemon.log")
        );
        assert_eq!(
            paths.control_socket(),
            Path::new("/tmp/lkc-1000/control.sock")
        );
    }

    #[test]
    fn xdg_variables_decide_when_absolute() {
        let paths = paths(&[
            ("HOME", "/home/u"),
            ("XDG_CONFIG_HOME", "/c"),
            ("XDG_STATE_HOME", "relative"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
        ])
        .unwrap();
        assert_eq!(paths.config_dir(), Path::new("/c/lkc"));
        assert_eq!(paths.state_dir(), Path::new("/home/u/.local/state/lkc"));
        assert_eq!(
            paths.daemon_lock(),
            Path::new("/run/user/1000/lkc/daemon.lock")
        );
    }

    #[test]
    fn the_system_has_configurations_of_its_own() {
        let files = |directories| -> Vec<PathBuf> {
            let paths = paths(&[("HOME", "/home/u"), ("XDG_CONFIG_DIRS", directories)]).unwrap();
            paths.system_config_files().collect()
        };
        assert_eq!(files(""), [Path::new("/etc/xdg/lkc/lkc.toml")]);
        assert_eq!(
            files("/a:relative:/b"),
            [Path::new("/a/lkc/lkc.toml"), Path::new("/b/lkc/lkc.toml")]
        );
    }

    #[test]
    fn a_home_is_needed() {
        assert_eq!(paths(&[]), Err(PathsError::NoHome));
        assert_eq!(paths(&[("HOME", "")]), Err(PathsError::NoHome));
        assert_eq!(
            paths(&[("HOME", "u")]),
            Err(PathsError::RelativeHome("u".into()))
        );
        let error = CommandError::from(PathsError::NoHome);
        assert_eq!(error.kind, Kind::HostIo);
    }

    #[test]
    fn every_socket_fits_whatever_the_runtime_directory() {
        for length in 1..200 {
            let runtime = format!("/{}", "r".repeat(length));
            let paths = paths(&[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", &runtime)]).unwrap();
            let name: ClusterName = "c".repeat(40).parse().unwrap();
            let cluster = paths
                .cluster(&name)
                .runtime_dir()
                .join("s".repeat(LONGEST_SOCKET_NAME));
            for socket in [paths.control_socket(), cluster] {
                assert!(
                    socket.as_os_str().len() <= LONGEST_SOCKET_PATH,
                    "{}",
                    socket.display()
                );
            }
        }
    }

    #[test]
    fn clusters_are_found_by_their_directories() {
        let home = tempfile::tempdir().unwrap();
        let paths = paths(&[("HOME", home.path().to_str().unwrap())]).unwrap();
        assert_eq!(paths.known_clusters().unwrap(), []);
        for name in ["k3s-dev", "a", ".hidden", "UPPER"] {
            std::fs::create_dir_all(paths.clusters_dir().join(name)).unwrap();
        }
        let names: Vec<_> = paths.known_clusters().unwrap();
        assert_eq!(
            names.iter().map(ClusterName::as_str).collect::<Vec<_>>(),
            ["a", "k3s-dev"]
        );
    }
}
