//! The record of a running machine, `machine.json` in its state directory. It is written before the
//! machine's first process does anything, so no machine runs without one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::MachineSpec;
use super::process::{self, Process};

const FILE: &str = "machine.json";

/// Longer than any record; a longer file is not one.
const MAX_BYTES: u64 = 16 * 1024;

/// Which process a machine is, and what its driver has to know of how it was `made`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record<M> {
    /// On the host, of the machine's first process.
    pub(super) pid: i32,
    /// Clock ticks from the host's boot to the start of that process.
    pub(super) start_time: u64,
    /// Of the host. Pids and start times mean nothing in another boot.
    pub(super) boot_id: String,
    #[serde(flatten)]
    pub(super) made: M,
    /// Tells whether the machine was made from the same specification.
    pub(super) spec_digest: String,
    /// Where the machine has its sockets. Whoever finds the machine may live in another
    /// session, whose runtime directory is elsewhere.
    pub(super) runtime_dir: PathBuf,
    /// Inode of that directory. A system that clears such directories at logout takes the
    /// sockets out of reach for good; then the directory is gone or another one.
    pub(super) runtime_inode: u64,
    /// Seconds since 1970.
    pub(super) created_at: u64,
}

impl<M: Serialize + DeserializeOwned> Record<M> {
    /// Describes the live process `pid`.
    pub(super) fn of(pid: i32, made: M, spec: &MachineSpec) -> io::Result<Self> {
        Ok(Self {
            pid,
            start_time: process::start_time(pid)?,
            boot_id: process::boot_id()?,
            made,
            spec_digest: digest(spec),
            runtime_dir: spec.runtime_dir.clone(),
            runtime_inode: fs::metadata(&spec.runtime_dir)?.ino(),
            created_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        })
    }

    /// `None` when there is none, or none that can be understood: a damaged record names no
    /// process, so there is nothing to adopt.
    pub(super) fn load(state_dir: &Path) -> io::Result<Option<Self>> {
        let path = state_dir.join(FILE);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > MAX_BYTES => return Ok(None),
            Ok(_) => {}
        }
        Ok(serde_json::from_slice(&fs::read(&path)?).ok())
    }

    pub(super) fn store(&self, state_dir: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(state_dir)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.as_file().sync_all()?;
        file.persist(state_dir.join(FILE))?;
        Ok(())
    }

    /// Whether the machine's sockets are still where the host can see them.
    pub(super) fn is_reachable(&self) -> bool {
        fs::metadata(&self.runtime_dir).is_ok_and(|metadata| metadata.ino() == self.runtime_inode)
    }

    /// The process that this record is about, if it still runs; never another one that has its pid.
    pub(super) fn process(&self) -> io::Result<Option<Process>> {
        if self.boot_id != process::boot_id()? {
            return Ok(None);
        }
        Process::open(self.pid, self.start_time)
    }
}

/// Removes the record of a machine that runs no more.
pub(super) fn remove(state_dir: &Path) -> io::Result<()> {
    match fs::remove_file(state_dir.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Tells whether two specifications make the same machine. Files are left out, for each start may
/// bring new keys, and so are directories, which are the machine's place and not its make.
pub(super) fn digest(spec: &MachineSpec) -> String {
    let MachineSpec {
        driver,
        name,
        mac,
        carriers: _,
        state_dir: _,
        runtime_dir: _,
        programs,
        files: _,
        agent_args,
        env,
        vm,
    } = spec;
    let make = (driver, name, mac, programs, agent_args, env, vm);
    fingerprint(&serde_json::to_vec(&make).unwrap_or_default())
}

/// FNV-1a: has to notice change, not to resist attack.
pub(super) fn fingerprint(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
