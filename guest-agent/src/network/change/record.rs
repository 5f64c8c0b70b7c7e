//! What of a change outlives the agent, and what outlives the boot.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use lkc_protocol::codec;
use lkc_protocol::message::ApplyNetwork;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::session::Before;
use super::machine::{Change, Secret};
use super::{BootTime, ChangeId};

/// Version of the files; another is refused.
const VERSION: u32 = 1;

/// Largest file in bytes; a configuration has at most 256 KiB, a state of many links some more.
pub(super) const LARGEST: u64 = 4 * 1024 * 1024;

/// How long another process may hold the lock. An agent that hangs must not keep the timer's
/// process from its work.
const LOCK: Duration = Duration::from_secs(2);

/// A file of ours could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub struct RecordError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A change under way, as it is written down before anything is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    id: String,
    /// Milliseconds since the boot.
    deadline_ms: u64,
    secret: Option<Secret>,
    /// Whether the network has become as asked.
    pub(super) applied: bool,
    pub(super) before: Before,
}

impl Record {
    pub(super) fn new(change: Change, before: Before) -> Self {
        Self {
            version: VERSION,
            id: change.id.to_string(),
            deadline_ms: u64::try_from(change.deadline.0.as_millis()).unwrap_or(u64::MAX),
            secret: change.secret,
            applied: false,
            before,
        }
    }

    pub(super) fn change(&self) -> Option<Change> {
        Some(Change {
            id: self.id.parse().ok()?,
            deadline: BootTime(Duration::from_millis(self.deadline_ms)),
            secret: self.secret,
        })
    }
}

/// How the last change ended, for the agent that is told later and for a keeper that comes later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) id: String,
    /// Whether a host has confirmed it; the rest is empty then.
    #[serde(default)]
    pub(super) confirmed: bool,
    pub(super) reason: String,
    pub(super) left: Option<String>,
    /// Whether whoever watches the network has heard of it.
    #[serde(default)]
    pub(super) told: bool,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub(super) struct Files {
    state: PathBuf,
    runtime_dir: PathBuf,
    runtime: PathBuf,
}

impl Files {
    pub(super) fn new(state: &Path, runtime: &Path) -> Self {
        Self {
            state: state.to_owned(),
            runtime_dir: runtime.to_owned(),
            runtime: runtime.join("network"),
        }
    }

    /// What tells another process of ours where they are.
    pub(super) fn arguments(&self) -> [String; 2] {
        let argument = |name: &str, path: &Path| format!("--{name}={}", path.display());
        [
            argument("state-dir", &self.state),
            argument("runtime-dir", &self.runtime_dir),
        ]
    }

    /// Keeps other processes of ours from changing the network until the file is dropped; none
    /// when somebody does not let go.
    pub(super) async fn lock(&self) -> Result<Option<File>, RecordError> {
        let path = self.runtime.join("lock");
        let failed = |source| RecordError {
            what: "lock",
            path: path.clone(),
            source,
        };
        fs::create_dir_all(&self.runtime).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        let waiting = file.try_clone().map_err(failed)?;
        // A thread of its own: the kernel wakes nobody else when the lock is free.
        let locking = tokio::task::spawn_blocking(move || waiting.lock());
        match tokio::time::timeout(LOCK, locking).await {
            Ok(Ok(locked)) => locked.map(|()| Some(file)).map_err(failed),
            Ok(Err(error)) => Err(failed(io::Error::other(error))),
            Err(_) => Ok(None),
        }
    }

    pub(super) fn record(&self) -> Result<Option<Record>, RecordError> {
        let path = self.runtime.join("change.json");
        let record: Option<Record> = read_json(&path)?;
        match record {
            Some(record) if record.version != VERSION => Err(RecordError {
                what: "use",
                path,
                source: io::Error::other(format!("it is of version {}", record.version)),
            }),
            record => Ok(record),
        }
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<(), RecordError> {
        write_json(&self.runtime.join("change.json"), record)
    }

    pub(super) fn remove_record(&self) -> Result<(), RecordError> {
        let path = self.runtime.join("change.json");
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RecordError {
                what: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn outcome(&self) -> Result<Option<Outcome>, RecordError> {
        read_json(&self.runtime.join("outcome.json"))
    }

    pub(super) fn write_outcome(&self, outcome: &Outcome) -> Result<(), RecordError> {
        write_json(&self.runtime.join("outcome.json"), outcome)
    }

    /// What is set up at every boot.
    pub(super) fn confirmed(&self) -> Result<Option<ApplyNetwork>, RecordError> {
        read_network(&self.state.join("network"))
    }

    pub(super) fn write_confirmed(&self, network: &ApplyNetwork) -> Result<(), RecordError> {
        write(&self.state.join("network"), &codec::encode(network))
    }

    /// What is in force, as far as it came from a host.
    pub(super) fn current(&self) -> Result<Option<ApplyNetwork>, RecordError> {
        read_network(&self.runtime.join("current"))
    }

    pub(super) fn write_current(&self, network: &ApplyNetwork) -> Result<(), RecordError> {
        write(&self.runtime.join("current"), &codec::encode(network))
    }

    /// Marks what is in force as what it was before; nothing when that is not known.
    pub(super) fn forget_current(&self) {
        // Without it the next change touches fewer links.
        let _ = fs::remove_file(self.runtime.join("current"));
    }
}

/// What an outcome is about.
impl Outcome {
    pub(super) fn confirmed(id: ChangeId) -> Self {
        Self {
            id: id.to_string(),
            confirmed: true,
            reason: String::new(),
            left: None,
            told: true,
        }
    }

    pub(super) fn taken_back(id: ChangeId, reason: &str, left: Option<String>) -> Self {
        Self {
            id: id.to_string(),
            confirmed: false,
            reason: reason.to_owned(),
            left,
            told: false,
        }
    }

    /// The same, of which whoever watches has heard.
    pub(super) fn told(self) -> Self {
        Self { told: true, ..self }
    }

    pub(super) fn id(&self) -> Option<ChangeId> {
        self.id.parse().ok()
    }
}

fn read_network(path: &Path) -> Result<Option<ApplyNetwork>, RecordError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let network = codec::decode(&Bytes::from(bytes));
    network.map(Some).map_err(|error| RecordError {
        what: "use",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RecordError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| RecordError {
            what: "use",
            path: path.to_owned(),
            source: error.into(),
        })
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, RecordError> {
    let reading = || {
        if fs::metadata(path)?.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        fs::read(path)
    };
    match reading() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError {
            what: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RecordError> {
    let bytes = serde_json::to_vec(value).map_err(|error| RecordError {
        what: "write",
        path: path.to_owned(),
        source: error.into(),
    })?;
    write(path, &bytes)
}

/// There whole or not at all, whatever happens to the machine.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let writing = || {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    writing().map_err(|source| RecordError {
        what: "write",
        path: path.to_owned(),
        source,
    })
}
