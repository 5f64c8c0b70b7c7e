//! A laboratory for one machine, and a look at its processes from outside.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

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
    let code = i32::from(run(&args) != std::process::ExitCode::SUCCESS);
    #[expect(clippy::exit, reason = "this is the whole program")]
    std::process::exit(code)
}

/// Directories and a specification for a machine whose agent is a shell script. What still runs is
/// ended when it is dropped, also by a test that failed.
pub(super) struct Lab {
    dir: TempDir,
    pub(super) spec: MachineSpec,
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
            name: "k3s-test".into(),
            mac: [0x52, 0x54, 0x00, 0xc8, 0x32, 0x0a],
            state_dir: dir.path().join("state"),
            runtime_dir: dir.path().join("run"),
            programs: Programs {
                guest_agent: script("agent", agent),
                k3s: script("k3s-of-this-test", "exit 0"),
            },
            files: Vec::new(),
            agent_args: Vec::new(),
            env: std::collections::BTreeMap::new(),
        };
        Self { dir, spec }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Contents of a file that the agent makes in the runtime directory, once it is there.
    pub(super) async fn runtime_file(&self, name: &str) -> Vec<u8> {
        let path = self.spec.runtime_dir.join(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(contents) = fs::read(&path) {
                return contents;
            }
            assert!(
                Instant::now() < deadline,
                "no {name}; console:\n{}",
                fs::read_to_string(self.spec.state_dir.join("console.log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let record = super::Record::load(&self.spec.state_dir).ok().flatten();
        if let Some(process) = record.and_then(|record| record.process().ok().flatten()) {
            let _ = process.signal(nix::sys::signal::Signal::SIGKILL);
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

pub(super) async fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: it never came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) fn runs(pid: i32) -> bool {
    stat_fields(pid).is_some_and(|fields| !matches!(fields[0].as_str(), "Z" | "X"))
}

/// Pid of the leader of the session that `pid` is in.
pub(super) fn session(pid: i32) -> i32 {
    stat_fields(pid).unwrap()[3].parse().unwrap()
}

/// What `pid` has open besides its standard files and what it made itself.
pub(super) fn inherited_files(pid: i32) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| {
            Some(
                fs::read_link(entry.unwrap().path())
                    .ok()?
                    .display()
                    .to_string(),
            )
        })
        .filter(|target| {
            let own = ["/dev/null", "anon_inode:", "socket:", "pipe:"];
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
