//! Processes as `/proc` shows them.

use std::{fs, path::Path};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A process, told apart from another one that gets its id later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its name.
    pub name: String,
    started: u64,
}

impl Process {
    /// The process with this id, when there is one that has not ended.
    #[must_use]
    pub fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then(|| Self {
            pid,
            name: name.to_owned(),
            started,
        })
    }

    /// Whether it runs still.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::find(self.pid).as_ref() == Some(self)
    }

    /// Sends it a signal; that it has ended is fine.
    ///
    /// # Panics
    /// When the kernel does not allow it.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            match kill(Pid::from_raw(self.pid), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => panic!("cannot signal {self:?}: {errno}"),
            }
        }
    }

    /// Its parent's id.
    #[must_use]
    pub fn parent(&self) -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Its arguments, separated by blanks.
    #[must_use]
    pub fn command_line(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }
}

/// Every process that has to do with a directory: by its command line, environment, working or
/// root directory, program, or a mount of something in it. Those of other users are seen by root.
#[must_use]
pub fn processes_of(directory: &Path) -> Vec<Process> {
    let ourselves = i32::try_from(std::process::id()).unwrap_or_default();
    every_process()
        .filter(|process| process.pid != ourselves && has_to_do_with(process.pid, directory))
        .collect()
}

/// Every process that descends from the one with this id, those nearest to it first.
#[must_use]
pub fn descendants(pid: i32) -> Vec<Process> {
    let all: Vec<_> = every_process()
        .filter_map(|process| Some((process.parent()?, process)))
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (_, child) in all.iter().filter(|(of, _)| *of == parent) {
            parents.insert(0, child.pid);
            found.push(child.clone());
        }
    }
    found
}

fn every_process() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Process::find(entry.file_name().to_str()?.parse().ok()?))
}

fn has_to_do_with(pid: i32, directory: &Path) -> bool {
    let directory = directory.as_os_str().as_encoded_bytes();
    let mentions = |bytes: &[u8]| {
        bytes
            .windows(directory.len())
            .any(|window| window == directory)
    };
    let files = ["cmdline", "environ", "mountinfo"];
    let links = ["cwd", "root", "exe"];
    files
        .iter()
        .any(|file| fs::read(format!("/proc/{pid}/{file}")).is_ok_and(|bytes| mentions(&bytes)))
        || links.iter().any(|link| {
            fs::read_link(format!("/proc/{pid}/{link}"))
                .is_ok_and(|path| mentions(path.as_os_str().as_encoded_bytes()))
        })
}
