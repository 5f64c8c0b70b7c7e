//! Where the files of one cluster live.

use std::path::{Path, PathBuf};

use super::{LONGEST_SOCKET_NAME, LONGEST_SOCKET_PATH, Paths};
use crate::config::ClusterName;

/// Where the files of one cluster live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPaths {
    state: PathBuf,
    runtime: PathBuf,
}

impl ClusterPaths {
    pub(super) fn new(paths: &Paths, name: &ClusterName) -> Self {
        let readable = paths.runtime_dir().join(name.as_str());
        let fits = readable.as_os_str().len() + 1 + LONGEST_SOCKET_NAME <= LONGEST_SOCKET_PATH;
        let runtime = if fits {
            readable
        } else {
            paths
                .runtime_dir()
                .join(format!("{:016x}", fnv1a(name.as_str().as_bytes())))
        };
        Self {
            state: paths.clusters_dir().join(name.as_str()),
            runtime,
        }
    }

    /// Directory of what outlives a reboot. Private.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// Directory of sockets, short enough for one with a name of at most
    /// [`LONGEST_SOCKET_NAME`] bytes. Private.
    #[must_use]
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime
    }

    /// The specification that the daemon continues with.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.state.join("cluster.json")
    }

    /// The cluster's kubeconfig; this path never changes.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig.yaml")
    }

    /// Directory that belongs to the machine's driver. Private.
    #[must_use]
    pub fn machine_dir(&self) -> PathBuf {
        self.state.join("machine")
    }

    /// The private key that this host shows to the cluster's guest.
    #[must_use]
    pub fn host_key(&self) -> PathBuf {
        self.state.join("host.key")
    }

    /// The private key of the cluster's guest, where it is the same for every start.
    #[must_use]
    pub fn guest_key(&self) -> PathBuf {
        self.state.join("guest.key")
    }

    /// The SSH host keys of the cluster's node, as ssh reads them.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.state.join("known_hosts")
    }

    /// Link to the disk image that a flake was built to, which keeps nix from removing it.
    #[must_use]
    pub fn image_link(&self) -> PathBuf {
        self.state.join("image")
    }

    /// The public key that the cluster's guest must show.
    #[must_use]
    pub fn guest_public_key(&self) -> PathBuf {
        self.state.join("guest.pub")
    }
}

/// FNV-1a with 64 bits: the same in every build, and only to make a name short.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn cluster(runtime: &str, name: &str) -> ClusterPaths {
        let lookup = |variable: &str| match variable {
            "HOME" => Some(OsString::from("/h")),
            "XDG_RUNTIME_DIR" => Some(OsString::from(runtime)),
            _ => None,
        };
        Paths::from_env(&lookup, 1)
            .unwrap()
            .cluster(&name.parse().unwrap())
    }

    #[test]
    fn files_are_named_after_the_cluster() {
        let paths = cluster("/run/user/1", "k3s-dev");
        assert_eq!(
            paths.spec(),
            Path::new("/h/.local/state/lkc/clusters/k3s-dev/cluster.json")
        );
        assert_eq!(paths.runtime_dir(), Path::new("/run/user/1/lkc/k3s-dev"));
    }

    #[test]
    fn a_name_too_long_for_a_socket_is_hashed() {
        let runtime = format!("/{}", "r".repeat(55));
        let hashed = cluster(&runtime, &"c".repeat(40));
        let name = hashed.runtime_dir().file_name().unwrap().to_str().unwrap();
        assert_eq!(name.len(), 16);
        assert_eq!(hashed, cluster(&runtime, &"c".repeat(40)));
        assert_ne!(hashed, cluster(&runtime, &"d".repeat(40)));
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
