//! What a cluster's machine is made from, and what is kept of the cluster on disk.
//!
//! The guest's private key is made anew for every start of a machine and kept nowhere on the host;
//! its public half is pinned beside the host's own key in the cluster's directory. A machine that
//! is found running keeps the key that it was started with. Where snapshots bring back a guest of an
//! earlier start, key included, there is one key for all starts, and it is kept beside the host's.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use lkc_protocol::identity::{Identity, IdentityError, PublicKey};
use thiserror::Error;

use super::guest_link::Credentials;
use crate::{
    config::{ClusterName, ClusterSpec, Driver, VmImage},
    control::Failure,
    error::Kind,
    machine::{self, GUEST_CONFIG_DIR, GuestFile, MachineSpec, Programs},
    paths::{
        ClusterPaths, Paths,
        private::{self, FILE_MODE, PrivateError, ReadError},
    },
};

/// Largest specification on disk, in bytes: hundreds of forwards fit.
const MAX_SPEC: usize = 1024 * 1024;

/// Largest key file, in bytes.
const MAX_KEY: usize = 4096;

/// Program names beside ours.
const GUEST_AGENT: &str = "lkc-guest";
const SIMULATOR: &str = "k3s-simulator";

/// Why a cluster's files or programs are not as they must be.
#[derive(Debug, Error)]
pub(super) enum ProvisionError {
    #[error(transparent)]
    Private(#[from] PrivateError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: ReadError },
    #[error("{path} is not a specification of a cluster: {source}")]
    Spec {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} holds no key: {source}")]
    Key {
        path: PathBuf,
        source: IdentityError,
    },
    #[error("cannot find our own program: {0}")]
    NoSelf(io::Error),
    #[error("the key of the guest of {cluster} is not known")]
    UnknownGuest {
        cluster: ClusterName,
        ours: PublicKey,
    },
    #[error(transparent)]
    NoRandomness(IdentityError),
}

impl ProvisionError {
    pub(super) fn to_failure(&self) -> Failure {
        let mut kind = Kind::HostIo;
        let hint = match self {
            Self::UnknownGuest { cluster, ours } => {
                kind = Kind::Authentication;
                Some(format!(
                    "run `lkc-guest token` in the machine and `lkc-host adopt {cluster}` here; or write `guest-key` into lkc.toml, as `lkc-guest identity` in the machine prints it, and let this host in there with the key {ours}"
                ))
            }
            Self::Private(error) => error.hint(),
            Self::Spec { path, .. } | Self::Key { path, .. } => Some(format!(
                "remove {} and run `lkc-host up` again",
                path.display()
            )),
            Self::Read { .. } | Self::NoSelf(_) | Self::NoRandomness(_) => None,
        };
        let mut message = self.to_string();
        if let Self::Private(PrivateError::Io { source, .. }) = self {
            message = format!("{message}: {source}");
        }
        Failure {
            kind,
            message,
            hints: hint.into_iter().collect(),
            tail: Vec::new(),
        }
    }
}

/// Keeps the specification, so that a daemon that starts later continues with it.
pub(super) fn persist(paths: &Paths, spec: &ClusterSpec) -> Result<(), ProvisionError> {
    let cluster = prepared(paths, &spec.name)?;
    let path = cluster.spec();
    let json = serde_json::to_vec_pretty(spec).map_err(|source| ProvisionError::Spec {
        path: path.clone(),
        source,
    })?;
    private::write_if_changed(&path, &json, FILE_MODE)?;
    Ok(())
}

/// The specification that was kept; none when the cluster's directory has none.
pub(super) fn persisted(
    paths: &Paths,
    name: &ClusterName,
) -> Result<Option<ClusterSpec>, ProvisionError> {
    let path = paths.cluster(name).spec();
    let json = match private::read_bounded(&path, MAX_SPEC) {
        Ok(json) => json,
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(ProvisionError::Read { path, source }),
    };
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(|source| ProvisionError::Spec { path, source })
}

/// What finds and stops the machine of a cluster; it cannot start one, since it gives it no key.
pub(super) fn found_machine(
    paths: &Paths,
    spec: &ClusterSpec,
) -> Result<MachineSpec, ProvisionError> {
    let cluster = paths.cluster(&spec.name);
    let authorized = host_identity(&cluster)?.public_key();
    machine_spec(&cluster, spec, authorized, None)
}

/// What starts the machine of a cluster, with a new identity for its guest, which is pinned.
pub(super) fn new_machine(
    paths: &Paths,
    spec: &ClusterSpec,
) -> Result<MachineSpec, ProvisionError> {
    let cluster = prepared(paths, &spec.name)?;
    let authorized = host_identity(&cluster)?.public_key();
    if let Some(reach) = &spec.reach {
        if let Some(key) = reach.guest_key {
            pin(&cluster, key)?;
        } else if !cluster.guest_public_key().exists() {
            return Err(ProvisionError::UnknownGuest {
                cluster: spec.name.clone(),
                ours: authorized,
            });
        }
        return machine_spec(&cluster, spec, authorized, None);
    }
    let guest = match spec.driver {
        Driver::Qemu => kept_identity(&cluster.guest_key())?,
        Driver::Sandbox | Driver::Existing => {
            Identity::generate().map_err(ProvisionError::NoRandomness)?
        }
    };
    pin(&cluster, guest.public_key())?;
    machine_spec(&cluster, spec, authorized, Some(&guest))
}

/// Our key for a cluster, made now if there is none yet.
pub(super) fn identity(paths: &Paths, name: &ClusterName) -> Result<Arc<Identity>, ProvisionError> {
    host_identity(&prepared(paths, name)?).map(Arc::new)
}

/// Keeps the key that a cluster's guest must show.
pub(super) fn pin_guest(
    paths: &Paths,
    name: &ClusterName,
    guest: PublicKey,
) -> Result<(), ProvisionError> {
    pin(&prepared(paths, name)?, guest)
}

/// Keeps the key that the cluster's guest must show.
fn pin(cluster: &ClusterPaths, guest: PublicKey) -> Result<(), ProvisionError> {
    let line = format!("{guest}\n");
    private::write_if_changed(&cluster.guest_public_key(), line.as_bytes(), FILE_MODE)?;
    Ok(())
}

/// The public keys of a cluster: ours, made now if there is none yet, and its guest's, once known.
pub(super) fn public_keys(
    paths: &Paths,
    name: &ClusterName,
) -> Result<(PublicKey, Option<PublicKey>), ProvisionError> {
    let cluster = prepared(paths, name)?;
    let ours = host_identity(&cluster)?.public_key();
    let path = cluster.guest_public_key();
    if !path.exists() {
        return Ok((ours, None));
    }
    let guest = read_key(&path)?
        .trim()
        .parse()
        .map_err(|source| ProvisionError::Key { path, source })?;
    Ok((ours, Some(guest)))
}

/// Our key for this cluster and its guest's.
pub(super) fn credentials(
    paths: &Paths,
    name: &ClusterName,
    boot_id: [u8; 16],
) -> Result<Credentials, ProvisionError> {
    let (ours, guest) = public_keys(paths, name)?;
    Ok(Credentials {
        identity: identity(paths, name)?,
        guest: guest.ok_or_else(|| ProvisionError::UnknownGuest {
            cluster: name.clone(),
            ours,
        })?,
        boot_id,
    })
}

/// Removes all that a cluster left on disk but its machine, which is the driver's to remove.
pub(super) fn remove(paths: &Paths, name: &ClusterName) -> Result<(), ProvisionError> {
    let cluster = paths.cluster(name);
    for directory in [cluster.runtime_dir(), cluster.state_dir()] {
        match fs::remove_dir_all(directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ProvisionError::Private(PrivateError::Io {
                    action: "remove",
                    path: directory.to_owned(),
                    source,
                }));
            }
            _ => {}
        }
    }
    Ok(())
}

fn prepared(paths: &Paths, name: &ClusterName) -> Result<ClusterPaths, ProvisionError> {
    let cluster = paths.cluster(name);
    private::private_dir(paths.state_dir(), paths.uid())?;
    private::private_dir(&paths.clusters_dir(), paths.uid())?;
    private::private_dir(cluster.state_dir(), paths.uid())?;
    private::private_dir(cluster.runtime_dir(), paths.uid())?;
    Ok(cluster)
}

/// The key that we show to the cluster's guest, made when it is first needed.
fn host_identity(cluster: &ClusterPaths) -> Result<Identity, ProvisionError> {
    kept_identity(&cluster.host_key())
}

fn kept_identity(path: &Path) -> Result<Identity, ProvisionError> {
    if path.exists() {
        return Identity::from_pem(&read_key(path)?).map_err(|source| ProvisionError::Key {
            path: path.to_owned(),
            source,
        });
    }
    let identity = Identity::generate().map_err(ProvisionError::NoRandomness)?;
    private::write_atomically(path, identity.to_pem().as_bytes(), FILE_MODE)?;
    Ok(identity)
}

fn read_key(path: &Path) -> Result<String, ProvisionError> {
    let bytes = private::read_bounded(path, MAX_KEY).map_err(|source| ProvisionError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn machine_spec(
    cluster: &ClusterPaths,
    spec: &ClusterSpec,
    authorized: PublicKey,
    guest: Option<&Identity>,
) -> Result<MachineSpec, ProvisionError> {
    let directory = own_directory()?;
    let in_guest = |name: &str| Path::new(GUEST_CONFIG_DIR).join(name);
    let mut files = vec![GuestFile {
        path: in_guest("authorized_hosts"),
        contents: format!("{authorized}\n").into_bytes(),
        mode: FILE_MODE,
    }];
    files.extend(guest.map(|guest| GuestFile {
        path: in_guest("identity.pem"),
        contents: guest.to_pem().into_bytes(),
        mode: FILE_MODE,
    }));
    let agent_args = [
        "run",
        "--listen",
        "unix:/run/lkc/agent.sock",
        "--identity",
        "/etc/lkc/identity.pem",
        "--authorized-hosts",
        "/etc/lkc/authorized_hosts",
        "--k3s",
        "/opt/lkc/bin/k3s",
    ];
    Ok(MachineSpec {
        driver: match spec.driver {
            Driver::Sandbox => machine::Driver::Sandbox,
            Driver::Existing => machine::Driver::Existing,
            Driver::Qemu => machine::Driver::Qemu,
        },
        name: spec.name.to_string(),
        mac: spec.mac.0,
        state_dir: cluster.machine_dir(),
        runtime_dir: cluster.runtime_dir().to_owned(),
        programs: Programs {
            guest_agent: directory.join(GUEST_AGENT),
            k3s: k3s_program(spec, &directory),
        },
        carriers: spec
            .reach
            .as_ref()
            .map_or_else(Vec::new, |reach| reach.carriers.clone()),
        files,
        agent_args: agent_args.map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        vm: virtual_machine(spec),
    })
}

fn virtual_machine(spec: &ClusterSpec) -> Option<machine::VmSpec> {
    let vm = spec.vm.as_ref()?;
    let image = match &vm.image {
        VmImage::Path(path) => path.clone(),
        // Whoever asked has built it; one that was not is missing under this name.
        VmImage::Flake(output) => PathBuf::from(output),
    };
    Some(machine::VmSpec {
        image,
        cpus: vm.cpus,
        memory_mib: vm.memory_mib,
        disk_mib: vm.disk_mib,
        firmware: vm.firmware.clone(),
        network: machine::VmNetwork {
            address: spec.address,
            prefix: spec.prefix,
            gateway: spec.gateway,
            nameserver: spec.nameservers.first().copied(),
        },
    })
}

/// The directory of our own program, where the programs of the guest are too.
fn own_directory() -> Result<PathBuf, ProvisionError> {
    let program = env::current_exe().map_err(ProvisionError::NoSelf)?;
    Ok(program.parent().unwrap_or(Path::new("/")).to_owned())
}

/// The configured k3s; else, as root, the one on `PATH`, since a real one needs root; else the
/// simulator.
fn k3s_program(spec: &ClusterSpec, directory: &Path) -> PathBuf {
    if let Some(binary) = &spec.k3s.binary {
        return binary.clone();
    }
    let simulator = directory.join(SIMULATOR);
    if !nix::unistd::geteuid().is_root() {
        return simulator;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join("k3s"))
        .find(|program| program.is_absolute() && program.is_file())
        .unwrap_or(simulator)
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::fs::MetadataExt};

    use super::*;
    use crate::daemon::state::tests::spec;

    fn paths(home: &Path) -> Paths {
        let lookup = |name: &str| match name {
            "HOME" => Some(OsString::from(home)),
            "XDG_RUNTIME_DIR" => Some(home.join("run").into_os_string()),
            _ => None,
        };
        Paths::from_env(&lookup, nix::unistd::geteuid().as_raw()).unwrap()
    }

    #[test]
    fn a_specification_survives_the_daemon() {
        let home = tempfile::tempdir().unwrap();
        let (paths, spec) = (paths(home.path()), spec("k3s-dev", 3));
        assert_eq!(persisted(&paths, &spec.name).unwrap(), None);
        persist(&paths, &spec).unwrap();
        assert_eq!(persisted(&paths, &spec.name).unwrap(), Some(spec.clone()));
        assert_eq!(paths.known_clusters().unwrap().len(), 1);
        fs::write(paths.cluster(&spec.name).spec(), "{").unwrap();
        let failure = persisted(&paths, &spec.name).unwrap_err().to_failure();
        assert_eq!(failure.kind, Kind::HostIo);
        assert!(failure.hints[0].starts_with("remove "), "{failure:?}");
    }

    #[test]
    fn every_start_has_a_new_guest_key_that_is_pinned_and_not_kept() {
        let home = tempfile::tempdir().unwrap();
        let (paths, spec) = (paths(home.path()), spec("k3s-dev", 0));
        let mut pins = Vec::new();
        for _ in 0..2 {
            let machine = new_machine(&paths, &spec).unwrap();
            let key = &machine.files[1];
            assert_eq!(
                (key.path.to_str().unwrap(), key.mode),
                ("/etc/lkc/identity.pem", 0o600)
            );
            let guest = Identity::from_pem(std::str::from_utf8(&key.contents).unwrap()).unwrap();
            let credentials = credentials(&paths, &spec.name, [0; 16]).unwrap();
            assert_eq!(credentials.guest, guest.public_key());
            let ours = format!("{}\n", credentials.identity.public_key());
            assert_eq!(machine.files[0].contents, ours.into_bytes());
            pins.push((credentials.guest, credentials.identity.public_key()));
        }
        assert_ne!(pins[0].0, pins[1].0);
        assert_eq!(pins[0].1, pins[1].1, "the host keeps its own");
        let directory = paths.cluster(&spec.name).state_dir().to_owned();
        for entry in fs::read_dir(&directory).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (paths, spec) = (paths(home.path()), spec("k3s-dev", 0));
        persist(&paths, &spec).unwrap();
        new_machine(&paths, &spec).unwrap();
        remove(&paths, &spec.name).unwrap();
        remove(&paths, &spec.name).unwrap();
        assert_eq!(paths.known_clusters().unwrap(), []);
        assert!(!paths.cluster(&spec.name).runtime_dir().exists());
    }
}
