//! Our part of k3s' configuration over a boot.
//!
//! A boot takes the file that k3s waits for, since it takes the addresses that a host had set. Where
//! a host has confirmed them the guest sets them up by itself, and the file comes back with them, so
//! that k3s starts without its host.

use std::io::ErrorKind;
use std::net::IpAddr;

use super::K3sPaths;
use super::dropin::{read_written, write_if_different};

/// Keeps the file that is there for the boots to come.
pub(super) fn keep(paths: &K3sPaths) {
    let kept = std::fs::read_to_string(paths.dropin_path())
        .and_then(|text| write_if_different(&paths.kept_path(), &text));
    if let Err(error) = kept {
        tracing::warn!(%error, "k3s will wait for its host after the next boot: its configuration is not kept");
    }
}

/// Brings the file back that was kept, unless there is one, or the node would not have the address
/// that is named in it. `own` are the addresses that the node has.
pub fn bring_back(paths: &K3sPaths, own: &[IpAddr]) {
    let path = paths.dropin_path();
    if path.exists() {
        return;
    }
    let text = match std::fs::read_to_string(paths.kept_path()) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!(%error, "k3s waits for its host: its configuration cannot be read");
            return;
        }
    };
    let Some(written) = read_written(&text) else {
        tracing::warn!("k3s waits for its host: its configuration is not one that was kept");
        return;
    };
    if !own.contains(&written.node_ip) {
        tracing::warn!(node_ip = %written.node_ip, "k3s waits for its host: the node does not have the address that it was configured with");
        return;
    }
    match write_if_different(&path, &text) {
        Ok(_) => tracing::info!(node_ip = %written.node_ip, "k3s' configuration is restored"),
        Err(error) => {
            tracing::warn!(%error, "k3s waits for its host: its configuration cannot be restored");
        }
    }
}

/// Whether a text is such a copy.
pub(crate) fn is_kept(text: &str) -> bool {
    read_written(text).is_some()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TEXT: &str = "# Written by lkc-guest, changes are overwritten. Role: server\n\
        node-name: \"k3s-dev\"\nnode-ip: \"192.100.0.10\"\n";

    #[test]
    fn it_comes_back_with_its_address_only() {
        let root = tempfile::tempdir().unwrap();
        let paths = K3sPaths::below(root.path());
        let own = ["192.100.0.10".parse().unwrap()];
        let other = ["192.100.0.11".parse().unwrap()];
        bring_back(&paths, &own);
        assert!(!paths.dropin_path().exists(), "nothing was kept");
        fs::create_dir_all(paths.dropin_path().parent().unwrap()).unwrap();
        fs::write(paths.dropin_path(), TEXT).unwrap();
        keep(&paths);
        fs::remove_file(paths.dropin_path()).unwrap();
        bring_back(&paths, &other);
        assert!(!paths.dropin_path().exists(), "another address");
        bring_back(&paths, &own);
        assert_eq!(fs::read_to_string(paths.dropin_path()).unwrap(), TEXT);
        fs::write(paths.dropin_path(), "theirs").unwrap();
        bring_back(&paths, &own);
        assert_eq!(fs::read_to_string(paths.dropin_path()).unwrap(), "theirs");
        fs::remove_file(paths.dropin_path()).unwrap();
        fs::write(paths.kept_path(), "nonsense").unwrap();
        bring_back(&paths, &own);
        assert!(!paths.dropin_path().exists());
    }
}
