//! A machine that somebody else made and runs: it is connected to and nothing more.
//!
//! That it is connected is a file in the state directory, for a daemon that starts later. Nothing
//! in the machine is ever stopped or removed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio_util::sync::CancellationToken;

use super::{MachineError, MachineExit, MachineSpec};
use crate::{
    carrier::Route,
    paths::private::{self, FILE_MODE},
};

/// Name in the state directory of what says that the machine is connected, and how.
const CONNECTED: &str = "connected.json";

/// Largest such file in bytes: some carriers with their hops.
const MAX_CONNECTED: usize = 64 * 1024;

/// A machine that is connected to.
#[derive(Debug)]
pub struct Existing {
    carriers: Vec<Route>,
    marker: PathBuf,
    log_path: PathBuf,
    is_outdated: bool,
    /// Cancelled when it is let go of.
    let_go: CancellationToken,
}

pub(super) fn start(spec: &MachineSpec) -> Result<Existing, MachineError> {
    if let Some(connected) = find(spec)? {
        return Ok(connected);
    }
    let marker = spec.state_dir.join(CONNECTED);
    let failed = |source| MachineError::Io {
        what: "write",
        path: marker.clone(),
        source,
    };
    fs::create_dir_all(&spec.state_dir).map_err(failed)?;
    let text = serde_json::to_vec(&spec.carriers).map_err(|error| failed(error.into()))?;
    private::write_atomically(&marker, &text, FILE_MODE)
        .map_err(|error| failed(io::Error::other(error)))?;
    Ok(Existing::new(spec, spec.carriers.clone()))
}

pub(super) fn find(spec: &MachineSpec) -> Result<Option<Existing>, MachineError> {
    let marker = spec.state_dir.join(CONNECTED);
    match private::read_bounded(&marker, MAX_CONNECTED) {
        // What cannot be read was written by another version; the configuration says it again.
        Ok(text) => Ok(Some(Existing::new(
            spec,
            serde_json::from_slice(&text).unwrap_or_else(|_| spec.carriers.clone()),
        ))),
        Err(private::ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MachineError::Io {
            what: "read",
            path: marker,
            source: io::Error::other(error),
        }),
    }
}

/// Forgets it. In the machine nothing changes.
pub(super) fn delete(spec: &MachineSpec) -> Result<(), MachineError> {
    for directory in [&spec.state_dir, &spec.runtime_dir] {
        match fs::remove_dir_all(directory) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(MachineError::Io {
                    what: "remove",
                    path: directory.clone(),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

impl Existing {
    fn new(spec: &MachineSpec, carriers: Vec<Route>) -> Self {
        Self {
            is_outdated: carriers != spec.carriers,
            carriers,
            marker: spec.state_dir.join(CONNECTED),
            log_path: super::log_path(&spec.state_dir),
            let_go: CancellationToken::new(),
        }
    }

    pub(super) fn carriers(&self) -> Vec<Route> {
        self.carriers.clone()
    }

    pub(super) fn log_path(&self) -> &Path {
        &self.log_path
    }

    pub(super) const fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    /// Returns once it is let go of: whether it runs, its link tells.
    pub(super) async fn exited(&self) -> MachineExit {
        self.let_go.cancelled().await;
        MachineExit::Stopped
    }

    pub(super) fn stop(&self) -> Result<(), MachineError> {
        self.let_go.cancel();
        match fs::remove_file(&self.marker) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(MachineError::Io {
                what: "remove",
                path: self.marker.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::machine::{self, Driver, Programs};

    fn spec(dir: &Path, carrier: &str) -> MachineSpec {
        MachineSpec {
            driver: Driver::Existing,
            vm: None,
            name: "k3s-far".into(),
            mac: [0x52, 0x54, 0, 0xc8, 0x32, 0x0a],
            state_dir: dir.join("state/machine"),
            runtime_dir: dir.join("run"),
            programs: Programs {
                guest_agent: "/nowhere".into(),
                k3s: "/nowhere".into(),
            },
            carriers: vec![carrier.parse::<crate::carrier::Carrier>().unwrap().into()],
            files: Vec::new(),
            agent_args: Vec::new(),
            env: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn it_is_found_as_it_was_connected_until_it_is_let_go_of() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path(), "tcp:10.0.0.2:7000");
        assert!(machine::find(&spec).await.unwrap().is_none());
        let connected = machine::start(&spec).await.unwrap();
        assert!(!connected.stops_guest());
        assert_eq!(connected.pid(), 0);
        let other = self::spec(dir.path(), "vsock:52:5000");
        let found = machine::find(&other).await.unwrap().unwrap();
        assert!(found.is_outdated() && !connected.is_outdated());
        assert_eq!(found.carriers().await, spec.carriers);
        let (exited, stopped) =
            tokio::join!(connected.exited(), connected.stop(Duration::from_secs(1)));
        stopped.unwrap();
        assert_eq!(exited.unwrap(), MachineExit::Stopped);
        assert!(machine::find(&spec).await.unwrap().is_none());
        machine::delete(&spec).await.unwrap();
        machine::delete(&spec).await.unwrap();
        assert!(!spec.state_dir.exists());
    }
}
