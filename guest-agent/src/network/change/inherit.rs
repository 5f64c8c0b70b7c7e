//! What an agent from before the steward kept in its own directory, which was root's then.
//!
//! It is taken over once, before the first boot's network: an upgrade that forgot what a host has
//! confirmed would come up without it. The directory has become the unprivileged agent's meanwhile, so
//! that its files may be anybody's work: none is followed elsewhere, read beyond what it can have, or
//! believed unchecked. Of k3s' configuration, which cannot be checked like the network's, only a file
//! that is still root's is taken.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use bytes::Bytes;
use lkc_protocol::codec;
use lkc_protocol::message::ApplyNetwork;
use nix::fcntl::OFlag;

use super::super::config::NetworkConfig;
use super::record::{LARGEST, write};
use crate::k3s;
use crate::observe::describe;

/// Where that agent kept it.
pub(super) const FORMER: &str = "/var/lib/lkc";

/// Says that it was done. A file that appears later is none of that agent's.
const DONE: &str = "inherited";

/// Moves what is usable from `former` to `state`, once. What is not usable stays where it is.
pub(super) fn inherit(former: &Path, state: &Path) {
    if former == state || state.join(DONE).exists() {
        return;
    }
    for (name, check) in [
        ("network", network as fn(&Found) -> Result<(), String>),
        ("k3s.yaml", k3s_configuration),
    ] {
        match take(&former.join(name), &state.join(name), check) {
            Ok(false) => {}
            Ok(true) => tracing::info!(name, "what an earlier agent kept is taken over"),
            Err(why) => tracing::warn!(name, why, "what an earlier agent kept is not used"),
        }
    }
    if let Err(error) = write(&state.join(DONE), &[]) {
        tracing::warn!(error = %describe(&error), "an earlier agent's files will be looked for again");
    }
}

struct Found {
    bytes: Vec<u8>,
    /// Whether it belongs to who reads it.
    own: bool,
}

/// Whether there was something and it is taken over now.
fn take(from: &Path, to: &Path, check: fn(&Found) -> Result<(), String>) -> Result<bool, String> {
    if to.exists() {
        return Ok(false);
    }
    let found = match read(from) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(describe(&error)),
    };
    check(&found)?;
    write(to, &found.bytes).map_err(|error| describe(&error))?;
    // It is not looked for again; what stays is a copy.
    let _ = fs::remove_file(from);
    Ok(true)
}

fn read(path: &Path) -> io::Result<Found> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let bytes = read_at_most(file)?;
    Ok(Found {
        bytes,
        own: metadata.uid() == nix::unistd::geteuid().as_raw(),
    })
}

fn read_at_most(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

fn network(found: &Found) -> Result<(), String> {
    let wanted: ApplyNetwork =
        codec::decode(&Bytes::copy_from_slice(&found.bytes)).map_err(|error| describe(&error))?;
    NetworkConfig::parse(&wanted)
        .map(drop)
        .map_err(|error| describe(&error))
}

fn k3s_configuration(found: &Found) -> Result<(), String> {
    if !found.own {
        return Err("it is not root's any more; the host configures k3s again".to_owned());
    }
    let text = std::str::from_utf8(&found.bytes).ok();
    if text.is_some_and(k3s::is_kept) {
        Ok(())
    } else {
        Err("it is not one that was kept".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use lkc_protocol::message::InterfaceConfig;
    use tempfile::TempDir;

    use super::*;

    const K3S: &str = "# Written by lkc-guest, changes are overwritten. Role: server\n\
        node-name: \"k3s-dev\"\nnode-ip: \"192.100.0.10\"\n";

    /// Puts something in the place of a file.
    type Plant<'a> = &'a dyn Fn(&Path);

    fn directories() -> (TempDir, TempDir) {
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap())
    }

    fn confirmed(address: &str) -> Vec<u8> {
        let interface = InterfaceConfig {
            id: "nic0".to_owned(),
            match_mac: Some("52:54:00:c8:32:0a".to_owned()),
            addresses: vec![address.to_owned()],
            ..InterfaceConfig::default()
        };
        let network = ApplyNetwork {
            hostname: None,
            interfaces: vec![interface],
        };
        codec::encode(&network).to_vec()
    }

    #[test]
    fn it_is_moved_once() {
        let (former, state) = directories();
        let bytes = confirmed("192.100.0.10/24");
        fs::write(former.path().join("network"), &bytes).unwrap();
        fs::write(former.path().join("k3s.yaml"), K3S).unwrap();
        inherit(former.path(), state.path());
        assert_eq!(fs::read(state.path().join("network")).unwrap(), bytes);
        assert_eq!(
            fs::read_to_string(state.path().join("k3s.yaml")).unwrap(),
            K3S
        );
        assert_eq!(fs::read_dir(former.path()).unwrap().count(), 0);

        // What comes later was not there when root's agent was.
        fs::remove_file(state.path().join("network")).unwrap();
        fs::write(former.path().join("network"), &bytes).unwrap();
        inherit(former.path(), state.path());
        assert!(!state.path().join("network").exists());
    }

    #[test]
    fn what_a_host_has_confirmed_since_stays() {
        let (former, state) = directories();
        let newer = confirmed("192.100.0.11/24");
        fs::write(former.path().join("network"), confirmed("192.100.0.10/24")).unwrap();
        fs::write(state.path().join("network"), &newer).unwrap();
        inherit(former.path(), state.path());
        assert_eq!(fs::read(state.path().join("network")).unwrap(), newer);
    }

    #[test]
    fn nothing_else_is_taken() {
        let elsewhere = tempfile::tempdir().unwrap();
        let whole = elsewhere.path().join("network");
        fs::write(&whole, confirmed("192.100.0.10/24")).unwrap();
        let plants: [(&str, Plant<'_>); 6] = [
            ("nonsense", &|path| fs::write(path, [7; 64]).unwrap()),
            ("a configuration that is wrong", &|path| {
                fs::write(path, confirmed("192.100.0.300/24")).unwrap();
            }),
            ("more than there can be", &|path| {
                File::create(path).unwrap().set_len(LARGEST + 1).unwrap();
            }),
            ("a link to elsewhere", &|path| {
                symlink(&whole, path).unwrap();
            }),
            ("a directory", &|path| fs::create_dir(path).unwrap()),
            ("a pipe", &|path| {
                nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            }),
        ];
        for (what, plant) in plants {
            let (former, state) = directories();
            plant(&former.path().join("network"));
            fs::write(former.path().join("k3s.yaml"), "node-name: \"x\"\n").unwrap();
            inherit(former.path(), state.path());
            assert!(!state.path().join("network").exists(), "{what}");
            assert!(!state.path().join("k3s.yaml").exists(), "{what}");
        }
    }

    #[test]
    fn k3s_configuration_of_another_owner_is_not_taken() {
        let found = Found {
            bytes: K3S.into(),
            own: false,
        };
        assert!(k3s_configuration(&found).is_err());
    }
}
