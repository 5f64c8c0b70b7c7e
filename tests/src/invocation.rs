//! One command: its own environment, a deadline, and everything that it prints.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::Read,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{Outcome, User, process::Process};

/// How long a command may take when nobody says so.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long the pipes of a command that has ended may stay open.
const PIPES_DEADLINE: Duration = Duration::from_secs(5);

/// A command that has not been started yet.
pub struct Invocation {
    command: Command,
    text: String,
    deadline: Duration,
    known: Vec<(String, String)>,
}

impl Invocation {
    /// A command in an environment of its own. Of `known` texts the second ones are shown.
    pub(crate) fn new(
        program: &Path,
        environment: &[(&str, &OsStr)],
        known: Vec<(String, String)>,
    ) -> Self {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = program.file_name().unwrap_or(program.as_os_str());
        Self {
            command,
            text: name.to_string_lossy().into_owned(),
            deadline: DEADLINE,
            known,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        for arg in args {
            let _ = write!(self.text, " {}", arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Sets the user.
    #[must_use]
    pub(crate) fn by(mut self, user: User) -> Self {
        user.become_in(&mut self.command);
        self
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets where standard output goes; then nothing of it is captured.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    /// Sets where standard error goes; then nothing of it is captured.
    #[must_use]
    pub fn stderr(mut self, stderr: impl Into<Stdio>) -> Self {
        self.command.stderr(stderr);
        self
    }

    /// Sets where standard input comes from.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.command.stdin(stdin);
        self
    }

    /// The command for whoever starts it on a terminal, as whoever runs the tests.
    #[must_use]
    pub fn on_terminal(self) -> Command {
        let mut command = Command::new(self.command.get_program());
        command.args(self.command.get_args()).env_clear();
        let environment = self.command.get_envs();
        command.envs(environment.filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm-256color");
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        command
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end within its deadline; it is killed then.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        let started = Instant::now();
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", self.text));
        let stdout = Captured::of(child.stdout.take());
        let stderr = Captured::of(child.stderr.take());
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let process = Process::find(pid);
        let (sender, status) = mpsc::channel();
        thread::spawn(move || {
            let _ = sender.send((child.wait(), started.elapsed()));
        });
        Running {
            text: self.text,
            deadline: self.deadline,
            known: self.known,
            process,
            stdout,
            stderr,
            status,
            ended: None,
        }
    }
}

/// A command that runs. Dropping it kills it.
#[must_use = "dropping it kills it"]
pub struct Running {
    text: String,
    deadline: Duration,
    known: Vec<(String, String)>,
    process: Option<Process>,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
    status: mpsc::Receiver<(std::io::Result<ExitStatus>, Duration)>,
    ended: Option<(ExitStatus, Duration)>,
}

impl Running {
    /// Its process id, 0 when it ended before anybody could look.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.as_ref().map_or(0, |process| process.pid)
    }

    /// Whether it runs still.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(Process::is_alive)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// Waits until `wanted` holds for all that standard output has said, and returns that.
    #[track_caller]
    pub fn stdout_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.until(&self.stdout, what, wanted)
    }

    /// Waits until `wanted` holds for all that standard error has said, and returns that.
    #[track_caller]
    pub fn stderr_until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.until(&self.stderr, what, wanted)
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// When it does not end within its deadline.
    #[track_caller]
    pub fn finish(mut self) -> Outcome {
        let Ok((status, elapsed)) = self.status.recv_timeout(self.deadline) else {
            self.signal(Signal::SIGKILL);
            panic!(
                "`{}` did not end within {:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.text,
                self.deadline,
                self.stdout.text(),
                self.stderr.text()
            );
        };
        let status = status.unwrap_or_else(|error| panic!("cannot wait for it: {error}"));
        self.ended = Some((status, elapsed));
        for captured in [&self.stdout, &self.stderr] {
            assert!(
                captured.wait(PIPES_DEADLINE, |_, closed| closed),
                "`{}` has ended, but something it started keeps its pipes open",
                self.text
            );
        }
        Outcome {
            command: self.text.clone(),
            status,
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            elapsed,
            known: self.known.clone(),
        }
    }

    #[track_caller]
    fn until(&self, captured: &Captured, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut seen = false;
        captured.wait(self.deadline, |text, closed| {
            seen = wanted(text);
            seen || closed
        });
        assert!(
            seen,
            "`{}` did not come so far that {what}\n--- stdout\n{}\n--- stderr\n{}",
            self.text,
            self.stdout.text(),
            self.stderr.text()
        );
        captured.text()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::SIGKILL);
            let _ = self.status.recv_timeout(PIPES_DEADLINE);
        }
    }
}

/// What came through a pipe so far.
#[derive(Default)]
struct Captured {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Captured {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Arc<Self> {
        let captured = Arc::new(Self::default());
        let writer = Arc::clone(&captured);
        thread::spawn(move || {
            if let Some(pipe) = pipe {
                writer.fill(pipe);
            }
            writer
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .1 = true;
            writer.changed.notify_all();
        });
        captured
    }

    fn fill(&self, mut pipe: impl Read) {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0.extend_from_slice(&buffer[..count]);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Waits until `holds` says so of the text and of whether more can come.
    fn wait(&self, deadline: Duration, mut holds: impl FnMut(&str, bool) -> bool) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = false;
        let _ = self.changed.wait_timeout_while(state, deadline, |state| {
            held = holds(&String::from_utf8_lossy(&state.0), state.1);
            !held
        });
        held
    }

    fn text(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&state.0).into_owned()
    }
}
