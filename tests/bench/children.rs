//! Processes that a candidate consists of, ended with everything below them when dropped.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Serialize;

use crate::{Failure, usage::tree};

/// Longest time until one of our own processes says that it listens.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// A running process.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    /// Ours end when it closes, so that nothing stays behind even if we are killed.
    stdin: Option<ChildStdin>,
    log: Option<PathBuf>,
}

impl Child {
    /// Starts this very program with a hidden subcommand, gives it `order` as a line of JSON, and
    /// waits for the line that it answers with.
    ///
    /// # Errors
    /// When it cannot be started or ends without an answer.
    pub(crate) fn ours<T: Serialize>(
        subcommand: &str,
        order: &T,
    ) -> Result<(Self, String), Failure> {
        let program = std::env::current_exe();
        let program = program.map_err(Failure::to("find this program"))?;
        Self::of_build(&program, subcommand, order)
    }

    /// The same with another build of this program.
    ///
    /// # Errors
    /// When it cannot be started or ends without an answer.
    pub(crate) fn of_build<T: Serialize>(
        program: &Path,
        subcommand: &str,
        order: &T,
    ) -> Result<(Self, String), Failure> {
        let what = || Failure::to(format!("start {subcommand} of {}", program.display()));
        let mut process = Command::new(program)
            .arg(subcommand)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(what())?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let mut child = Self {
            process,
            stdin,
            log: None,
        };
        let line = serde_json::to_string(order)
            .map_err(|error| Failure::Candidate(format!("{subcommand}: {error}")))?;
        if let Some(stdin) = &mut child.stdin {
            writeln!(stdin, "{line}").map_err(what())?;
        }
        let answer = stdout.and_then(|stdout| {
            let (sender, receiver) = mpsc::channel();
            // Ends with its line or with the process, which `child` ends.
            thread::spawn(move || {
                let mut line = String::new();
                if BufReader::new(stdout).read_line(&mut line).is_ok() {
                    // Nobody may be waiting any more.
                    let _ = sender.send(line);
                }
            });
            receiver.recv_timeout(READY_DEADLINE).ok()
        });
        match answer.as_deref().map(str::trim) {
            Some(line) if !line.is_empty() => Ok((child, line.to_owned())),
            _ => Err(Failure::Candidate(format!(
                "{subcommand} did not get ready"
            ))),
        }
    }

    /// Starts another program, which writes what it says to a file in `directory`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn tool(
        command: &mut Command,
        name: &str,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let what = || Failure::to(format!("start {name}"));
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).map_err(what())?;
        let process = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().map_err(what())?)
            .stderr(file)
            .spawn()
            .map_err(what())?;
        Ok(Self {
            process,
            stdin: None,
            log: Some(log),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// If it has ended: the last it said.
    pub(crate) fn last_words(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        let log = self
            .log
            .as_ref()
            .and_then(|log| std::fs::read_to_string(log).ok());
        let said = log.as_deref().and_then(|text| text.trim().lines().last());
        Some(said.map_or_else(|| status.to_string(), str::to_owned))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stdin = None;
        // Not reaped yet, so the number is still its own, and so are those of its descendants.
        if !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        for id in tree(&[self.process.id()]) {
            if let Ok(id) = i32::try_from(id) {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
            }
        }
        let _ = self.process.wait();
    }
}

/// Where a program is: on the path or where daemons are.
pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut programs = directories.map(|directory| directory.join(name));
    programs.find(|program| program.is_file())
}
