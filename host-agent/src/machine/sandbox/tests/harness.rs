//! A laboratory for one machine, and a look at its processes from outside.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigHandler, Signal, signal};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe;

use crate::machine::sandbox::{ENTER_COMMAND, INIT_COMMAND, enter_main, init_main, probe};
use crate::machine::{Driver, MachineSpec, Programs};

const PATIENCE: Duration = Duration::from_secs(30);

/// The driver runs its own program again, which here is the test binary: the hidden commands are
/// taken before the test runner starts its threads, as `lkc-host` takes them before all else.
#[expect(
    unsafe_code,
    reason = "the test runner leaves no other place before its threads"
)]
// SAFETY: the section holds pointers to functions that the C library calls before main.
#[unsafe(link_section = ".init_array")]
#[used]
static BEFORE_MAIN: extern "C" fn() = before_main;

#[expect(unsafe_code, reason = "signal dispositions are process-wide")]
extern "C" fn before_main() {
    let Ok(command_line) = fs::read("/proc/self/cmdline") else {
        return;
    };
    let mut args = command_line
        .split(|byte| *byte == 0)
        .map(|arg| OsString::from_vec(arg.to_vec()))
        .skip(1);
    let command = args.next().unwrap_or_default();
    let mut args: Vec<OsString> = args.collect();
    // What follows the last zero byte is no argument.
    args.pop();
    let run = if command == ENTER_COMMAND {
        enter_main
    } else if command == INIT_COMMAND {
        init_main
    } else {
        return;
    };
    // SAFETY: there is one thread and no handler; a Rust program's main has done the same.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
    let code = i32::from(run(&args) != std::process::ExitCode::SUCCESS);
    #[expect(clippy::exit, reason = "this is the whole program")]
    std::process::exit(code)
}

/// Directories and a specification for a machine whose agent is a shell script. What still runs is
/// ended when it is dropped, also by a test that failed.
pub(super) struct Lab {
    dir: TempDir,
    pub(super) spec: MachineSpec,
    /// What the agent writes to `/run/lkc/say`.
    said: Lines<BufReader<pipe::Receiver>>,
    /// What the agent reads from `/run/lkc/ask`.
    asked: pipe::Sender,
}

impl Lab {
    pub(super) fn new(agent: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("lkc-").tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let spec = MachineSpec {
            driver: Driver::Sandbox,
            vm: None,
            name: "k3s-test".into(),
            mac: [0x52, 0x54, 0x00, 0xc8, 0x32, 0x0a],
            state_dir: dir.path().join("state"),
            runtime_dir: dir.path().join("run"),
            programs: Programs {
                guest_agent: script("agent", agent),
                k3s: script("k3s-of-this-test", "exit 0"),
            },
            carriers: Vec::new(),
            files: Vec::new(),
            agent_args: Vec::new(),
            env: std::collections::BTreeMap::new(),
        };
        let (said, asked) = pipes(&spec.runtime_dir);
        Self {
            dir,
            spec,
            said,
            asked,
        }
    }

    /// Once more, after the runtime directory has gone.
    pub(super) fn listen(&mut self) {
        (self.said, self.asked) = pipes(&self.spec.runtime_dir);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The next line that the agent says.
    pub(super) async fn hear(&mut self) -> String {
        match tokio::time::timeout(PATIENCE, self.said.next_line()).await {
            Ok(line) => line.unwrap().unwrap(),
            Err(_) => {
                let console = fs::read_to_string(self.spec.state_dir.join("console.log"));
                panic!("nothing heard; console:\n{}", console.unwrap_or_default())
            }
        }
    }

    /// What the agent says before it says `end`.
    pub(super) async fn hear_until(&mut self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.hear().await {
                line if line == end => return lines,
                line => lines.push(line),
            }
        }
    }

    pub(super) fn tell(&self, line: &str) {
        self.asked
            .try_write(format!("{line}\n").as_bytes())
            .unwrap();
    }
}

/// Both ends are held open, so that neither side ever sees an end of file.
fn pipes(runtime_dir: &Path) -> (Lines<BufReader<pipe::Receiver>>, pipe::Sender) {
    fs::create_dir(runtime_dir).unwrap();
    let (say, ask) = (runtime_dir.join("say"), runtime_dir.join("ask"));
    for path in [&say, &ask] {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    let mut options = pipe::OpenOptions::new();
    options.read_write(true);
    let said = options.open_receiver(say).unwrap();
    let asked = options.open_sender(ask).unwrap();
    (BufReader::new(said).lines(), asked)
}

impl Drop for Lab {
    fn drop(&mut self) {
        let record = super::Record::load(&self.spec.state_dir).ok().flatten();
        if let Some(process) = record.and_then(|record| record.process().ok().flatten()) {
            let _ = process.signal(rustix::process::Signal::KILL);
        }
    }
}

/// Says on the terminal why nothing can be tried here, once for each test.
pub(super) fn can_enter() -> bool {
    static ANSWER: LazyLock<Result<(), String>> =
        LazyLock::new(|| probe().map(drop).map_err(|error| error.to_string()));
    match &*ANSWER {
        Ok(()) => true,
        Err(why) => {
            println!("skipped: {why}");
            false
        }
    }
}

pub(super) fn runs(pid: i32) -> bool {
    stat_fields(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// Pid of the leader of the session that `pid` is in.
pub(super) fn session(pid: i32) -> i32 {
    stat_fields(pid).unwrap()[3].parse().unwrap()
}

/// A file that every process started from here inherits, unless it takes care.
pub(super) fn inheritable_file(path: &Path) -> File {
    let file = File::create(path).unwrap();
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    file
}

/// What `pid` has open that neither it nor the kernel made for it.
pub(super) fn foreign_files(pid: i32) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| {
            let target = fs::read_link(entry.unwrap().path()).ok()?;
            Some(target.display().to_string())
        })
        .filter(|target| {
            let own = ["/dev/null", "anon_inode:", "socket:"];
            !own.iter().any(|own| target.starts_with(own))
                && !target.ends_with("/console.log")
                && !target.ends_with("/exit.json")
        })
        .collect()
}

pub(super) fn pid_namespace_of(pid: i32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap()
}

pub(super) fn processes_in(namespace: &PathBuf) -> Vec<i32> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|found| found == *namespace)
        })
        .filter(|pid| runs(*pid))
        .collect()
}

/// The fields of a process' status after its name, the state first.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = line.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}
