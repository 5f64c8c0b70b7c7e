//! Starting a program, with three pipes or with a terminal.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    pin::Pin,
    process::{ExitStatus, Stdio},
    task::{Context, Poll},
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    exec::{ProgramEnd, Signal},
    message::{Exec, TerminalSize},
};
use pty_process::{OwnedReadPty, OwnedWritePty, Size};
use rustix::process::{Pid, kill_process_group};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWriteExt as _, ReadBuf},
    process::{self, ChildStderr, ChildStdin, ChildStdout, Command},
};

use super::{
    elsewhere::{Far, FarGroup},
    surroundings::{NotAVariable, Surroundings},
};

/// What a terminal's line discipline takes for the end of input.
const END_OF_INPUT: &[u8] = &[4];

/// A program to be started.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    command: Command,
    terminal: Option<TerminalSize>,
}

/// Why a request asks for nothing that could run.
#[derive(Debug, Error)]
pub(super) enum NotAProgram {
    #[error("a program, an argument or a directory has a NUL character in it")]
    Nul,
    #[error("the directory `{0}` is not absolute")]
    Relative(String),
    #[error(transparent)]
    Variable(#[from] NotAVariable),
}

/// Why a program did not start.
#[derive(Debug, Error)]
#[error("cannot run `{name}`: {source}")]
pub(super) struct NotStarted {
    name: String,
    source: io::Error,
}

impl NotStarted {
    /// What a shell makes of it: 127 for a program that is not there, else 126.
    pub(super) fn exit_status(&self) -> u8 {
        match self.source.kind() {
            io::ErrorKind::NotFound => 127,
            _ => 126,
        }
    }
}

/// Why a request has no program running.
pub(super) enum NotRun {
    /// Nothing could run, or nobody could start it.
    Refused(Refusal),
    /// It did not start, which is told as a shell tells it.
    Failed {
        /// Exit status.
        status: u8,
        /// Why.
        text: String,
    },
}

impl From<NotAProgram> for NotRun {
    fn from(error: NotAProgram) -> Self {
        Self::Refused(Refusal::new(RefusalCode::Invalid, error.to_string()))
    }
}

impl From<NotStarted> for NotRun {
    fn from(error: NotStarted) -> Self {
        Self::Failed {
            status: error.exit_status(),
            text: error.to_string(),
        }
    }
}

/// A program that runs.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) group: Group,
    pub(super) input: Input,
    /// What it writes; with a terminal all of it, errors too.
    pub(super) output: Option<Output>,
    pub(super) errors: Option<ChildStderr>,
}

impl Running {
    /// The process, its group, and our ends of its three pipes or of its terminal.
    pub(super) fn into_parts(self) -> io::Result<(Child, Group, Vec<OwnedFd>)> {
        let ends = match (self.input, self.output) {
            (Input::Pipe(input), Some(Output::Pipe(output))) => {
                let errors = self.errors.ok_or(io::ErrorKind::BrokenPipe)?;
                vec![
                    input.into_owned_fd()?,
                    output.into_owned_fd()?,
                    errors.into_owned_fd()?,
                ]
            }
            (Input::Terminal(input), Some(Output::Terminal(output))) => {
                vec![output.unsplit(input).map_err(of_terminal)?.into()]
            }
            _ => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        Ok((self.child, self.group, ends))
    }
}

/// Whose end is waited for.
pub(super) enum Child {
    /// A process of ours.
    Ours(process::Child),
    /// Another's, who tells.
    Far(Far),
}

impl Child {
    pub(super) async fn wait(&mut self) -> io::Result<ProgramEnd> {
        match self {
            Self::Ours(child) => child.wait().await.map(end_of),
            Self::Far(far) => far.end().await,
        }
    }
}

/// Where its output is read.
pub(super) enum Output {
    Pipe(ChildStdout),
    Terminal(OwnedReadPty),
}

impl AsyncRead for Output {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Self::Terminal(terminal) => Pin::new(terminal).poll_read(context, buffer),
        }
    }
}

impl Program {
    /// What is asked for, in this guest's surroundings.
    ///
    /// # Errors
    /// [`NotAProgram`].
    pub(super) fn new(wanted: &Exec) -> Result<Self, NotAProgram> {
        let surroundings = Surroundings::of_this_process();
        let has_nul = |text: &String| text.contains('\0');
        if wanted
            .arguments
            .iter()
            .chain(&wanted.directory)
            .any(has_nul)
        {
            return Err(NotAProgram::Nul);
        }
        let mut command = match wanted.arguments.split_first() {
            Some((name, arguments)) => {
                let mut command = Command::new(name);
                command.args(arguments);
                command
            }
            None => {
                let shell = &surroundings.shell;
                let mut command = Command::new(shell);
                // So named it reads the profile, as at any login.
                command.arg0(format!("-{}", shell.rsplit('/').next().unwrap_or(shell)));
                command
            }
        };
        command
            .env_clear()
            .envs(surroundings.variables(&wanted.environment)?);
        match &wanted.directory {
            Some(directory) if directory.starts_with('/') => command.current_dir(directory),
            Some(directory) => return Err(NotAProgram::Relative(directory.clone())),
            None => command.current_dir(surroundings.directory()),
        };
        let name = wanted.arguments.first().unwrap_or(&surroundings.shell);
        Ok(Self {
            name: name.clone(),
            command,
            terminal: wanted.terminal,
        })
    }

    /// Starts it, at the head of a process group.
    ///
    /// # Errors
    /// [`NotStarted`].
    pub(super) fn start(self) -> Result<Running, NotStarted> {
        let Self {
            name,
            command,
            terminal,
        } = self;
        let started = match terminal {
            Some(size) => on_terminal(command, size),
            None => on_pipes(command),
        };
        started.map_err(|source| NotStarted { name, source })
    }
}

fn on_pipes(mut command: Command) -> io::Result<Running> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let stdout = child.stdout.take();
    Ok(Running {
        group: Group::of(&child),
        input: Input::Pipe(stdin),
        output: stdout.map(Output::Pipe),
        errors: child.stderr.take(),
        child: Child::Ours(child),
    })
}

fn on_terminal(command: Command, size: TerminalSize) -> io::Result<Running> {
    let (ours, theirs) = pty_process::open().map_err(of_terminal)?;
    ours.resize(Size::new(size.rows, size.columns))
        .map_err(of_terminal)?;
    let child = pty_process::Command::from(command)
        .spawn(theirs)
        .map_err(of_terminal)?;
    let (output, input) = ours.into_split();
    Ok(Running {
        group: Group::of(&child),
        input: Input::Terminal(input),
        output: Some(Output::Terminal(output)),
        errors: None,
        child: Child::Ours(child),
    })
}

pub(super) fn of_terminal(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        pty_process::Error::Rustix(error) => error.into(),
        other => io::Error::other(other),
    }
}

/// How a program ended.
fn end_of(status: ExitStatus) -> ProgramEnd {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.code(), status.signal()) {
        (Some(code), _) => ProgramEnd::Exited(byte(code)),
        (None, signal) => ProgramEnd::Killed(signal.map_or(u8::MAX, byte)),
    }
}

/// Where a program's input goes.
pub(super) enum Input {
    Pipe(ChildStdin),
    Terminal(OwnedWritePty),
}

impl Input {
    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(bytes).await,
            Self::Terminal(terminal) => terminal.write_all(bytes).await,
        }
    }

    /// Says that no more follows. A terminal stays open: it is output too.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.shutdown().await,
            Self::Terminal(terminal) => terminal.write_all(END_OF_INPUT).await,
        }
    }

    pub(super) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        match self {
            Self::Pipe(_) => Ok(()),
            Self::Terminal(terminal) => terminal
                .resize(Size::new(size.rows, size.columns))
                .map_err(of_terminal),
        }
    }
}

/// The processes that a program is the head of. Dropped before the program is over they are told
/// that their terminal is gone.
pub(super) enum Group {
    /// None once its head is waited for: the number may soon be another's.
    Ours(Option<Pid>),
    /// Another's, who tells them by itself as well.
    Far(FarGroup),
}

impl Group {
    fn of(child: &process::Child) -> Self {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Self::Ours(pid.and_then(Pid::from_raw))
    }

    pub(super) fn signal(&self, signal: Signal) {
        let group = match self {
            Self::Ours(Some(group)) => *group,
            Self::Ours(None) => return,
            Self::Far(far) => return far.signal(signal),
        };
        let signal = match signal {
            Signal::Hangup => rustix::process::Signal::HUP,
            Signal::Interrupt => rustix::process::Signal::INT,
            Signal::Quit => rustix::process::Signal::QUIT,
            Signal::Terminate => rustix::process::Signal::TERM,
        };
        if let Err(error) = kill_process_group(group, signal) {
            tracing::debug!(%error, "a program cannot be sent a signal");
        }
    }

    /// Its head is over.
    pub(super) fn let_go(mut self) {
        if let Self::Ours(group) = &mut self {
            *group = None;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Self::Ours(_) = self {
            self.signal(Signal::Hangup);
        }
    }
}
