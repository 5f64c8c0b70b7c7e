//! What is left of a test when all of it should be gone.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use crate::process::{Process, processes_of};

/// What is left.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Processes that have to do with the directory.
    pub processes: Vec<Process>,
    /// Mounts in this process's view.
    pub mounts: Vec<String>,
    /// Control groups.
    pub control_groups: Vec<PathBuf>,
    /// Sockets in the file system.
    pub sockets: Vec<PathBuf>,
    /// Ports that someone listens on.
    pub listening: Vec<u16>,
}

impl Leftovers {
    /// Looks for everything that has to do with `directory`, for who listens on `ports`, and for
    /// those of `groups` that still exist.
    #[must_use]
    pub fn of(directory: &Path, ports: &[u16], groups: &[PathBuf]) -> Self {
        let name = directory.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut sockets = Vec::new();
        collect_sockets(directory, &mut sockets);
        Self {
            processes: processes_of(directory),
            mounts: mounts
                .lines()
                .filter(|line| line.contains(&name))
                .map(str::to_owned)
                .collect(),
            control_groups: groups
                .iter()
                .filter(|group| group.exists())
                .cloned()
                .collect(),
            sockets,
            listening: listening(ports),
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
            && self.mounts.is_empty()
            && self.control_groups.is_empty()
            && self.sockets.is_empty()
            && self.listening.is_empty()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for process in &self.processes {
            let (pid, name) = (process.pid, &process.name);
            writeln!(
                formatter,
                "process {pid} {name}: {}",
                process.command_line()
            )?;
        }
        for mount in &self.mounts {
            writeln!(formatter, "mount {mount}")?;
        }
        for path in &self.control_groups {
            writeln!(formatter, "control group {}", path.display())?;
        }
        for path in &self.sockets {
            writeln!(formatter, "socket {}", path.display())?;
        }
        for port in &self.listening {
            writeln!(formatter, "someone listens on {port}")?;
        }
        Ok(())
    }
}

/// The control group that lkc made for a process, if it made one.
#[must_use]
pub fn control_group(pid: i32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount_point = mounts
        .lines()
        .find(|line| line.contains(" - cgroup2 "))?
        .split(' ')
        .nth(4)?;
    let ours = path.split('/').position(|part| part.starts_with("lkc-"))?;
    let parts = path.split('/').take(ours + 1);
    Some(parts.fold(PathBuf::from(mount_point), |path, part| path.join(part)))
}

fn collect_sockets(directory: &Path, found: &mut Vec<PathBuf>) {
    use std::os::unix::fs::FileTypeExt;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_socket() => found.push(entry.path()),
            Ok(kind) if kind.is_dir() => collect_sockets(&entry.path(), found),
            _ => {}
        }
    }
}

/// Those of `ports` that are listened on, by the kernel's tables.
#[must_use]
pub fn listening(ports: &[u16]) -> Vec<u16> {
    let mut found: Vec<u16> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|table| {
            let text = fs::read_to_string(table).unwrap_or_default();
            let lines = text.lines().filter_map(listening_port);
            lines.collect::<Vec<_>>()
        })
        .filter(|port| ports.contains(port))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (_, port) = fields.next()?.rsplit_once(':')?;
    let state = fields.nth(1)?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (state == "0A").then_some(port)
}
