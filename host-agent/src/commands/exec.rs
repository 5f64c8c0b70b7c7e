//! `lkc-host exec`: this command's terminal, or its three streams, as a program in the guest.

use std::io::{self, IsTerminal as _};

use bytes::Bytes;
use lkc_protocol::exec::{FromProgram, Signal, ToProgram, encode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::unix::OwnedWriteHalf,
    signal::unix::SignalKind,
    sync::mpsc,
};

use super::{
    End,
    context::Context,
    listen, program,
    terminal::{RawTerminal, size},
};
use crate::{
    cli::Exec,
    control::Program,
    error::{CommandError, Kind},
};

/// Bytes of input that are read at once.
const BLOCK: usize = 16 * 1024;

/// Exit code of a command that an interrupt ended.
const INTERRUPTED: u8 = 130;

pub(super) async fn run(context: &Context<'_>, args: &Exec) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let both = io::stdin().is_terminal() && io::stdout().is_terminal();
    let with_terminal = args.tty || (both && !args.no_tty && !args.no_input);
    let mut environment = args.env.clone();
    if with_terminal && let Ok(term) = std::env::var("TERM") {
        environment.insert(0, format!("TERM={term}"));
    }
    let program = Program {
        arguments: args.command.clone(),
        environment,
        directory: args.workdir.clone(),
        terminal: with_terminal.then(size),
    };
    // Before the program runs: what comes from then on is meant for it.
    let signals = Signals::new()?;
    let started = program::start(context, cluster, program).await;
    let (mut program, to_daemon) = started.map_err(|error| meant_as_program(args, error))?;
    let raw = if with_terminal {
        RawTerminal::enter()
    } else {
        None
    };
    let (pieces, queued) = mpsc::channel(1);
    let said = async {
        loop {
            match program.next().await? {
                FromProgram::Output(bytes) => write(tokio::io::stdout(), &bytes).await?,
                FromProgram::Errors(bytes) => write(tokio::io::stderr(), &bytes).await?,
                FromProgram::Ended(end) => return Ok(End::Exit(end.exit_code())),
            }
        }
    };
    let ended = tokio::select! {
        ended = said => ended,
        never = pass_on(queued, to_daemon) => never,
        never = hear(!args.no_input, &pieces) => never,
        () = signals.pass_on(&pieces, with_terminal) => Ok(End::Exit(INTERRUPTED)),
    };
    drop(raw);
    ended
}

/// Who writes a program where a cluster stands is told how it is meant.
fn meant_as_program(args: &Exec, error: CommandError) -> CommandError {
    match &args.which.cluster {
        Some(name) if error.kind == Kind::NotFound && args.command.is_empty() => error.hint(
            format!("to run the program {name} in the node: `lkc-host exec -- {name}`"),
        ),
        _ => error,
    }
}

/// Sends what this end has to say, for as long as the daemon takes it. Never returns: how it ended is
/// read at the other half.
async fn pass_on<T>(mut queued: mpsc::Receiver<ToProgram>, mut daemon: OwnedWriteHalf) -> T {
    while let Some(piece) = queued.recv().await {
        if daemon.write_all(&encode(&piece)).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Reads our input to its end, which is the program's. Never returns.
async fn hear<T>(is_wanted: bool, pieces: &mpsc::Sender<ToProgram>) -> T {
    if is_wanted {
        let mut stdin = tokio::io::stdin();
        let mut block = vec![0; BLOCK];
        while let Ok(count @ 1..) = stdin.read(&mut block).await {
            let bytes = Bytes::copy_from_slice(&block[..count]);
            let _ = pieces.send(ToProgram::Input(bytes)).await;
        }
    }
    let _ = pieces.send(ToProgram::InputEnd).await;
    std::future::pending().await
}

/// Writes all of it now: the program may go on for hours.
async fn write(mut to: impl AsyncWrite + Unpin, bytes: &[u8]) -> Result<(), CommandError> {
    let written = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    match written.await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(Kind::Other, crate::output::StdoutClosed))
        }
        Err(error) => Err(CommandError::new(Kind::HostIo, error).context("cannot pass output on")),
        Ok(()) => Ok(()),
    }
}

/// Signals that the program gets, and the size of the terminal.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    window: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, CommandError> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
            quit: listen(SignalKind::quit())?,
            window: listen(SignalKind::window_change())?,
        })
    }

    /// Passes them on; returns when whoever sent an interrupt sends another.
    async fn pass_on(mut self, pieces: &mpsc::Sender<ToProgram>, with_terminal: bool) {
        let mut interrupts = 0;
        loop {
            let piece = tokio::select! {
                _ = self.interrupt.recv() => {
                    interrupts += 1;
                    if interrupts > 1 {
                        return;
                    }
                    ToProgram::Signal(Signal::Interrupt)
                }
                _ = self.terminate.recv() => ToProgram::Signal(Signal::Terminate),
                _ = self.hangup.recv() => ToProgram::Signal(Signal::Hangup),
                _ = self.quit.recv() => ToProgram::Signal(Signal::Quit),
                _ = self.window.recv(), if with_terminal => {
                    let [columns, rows] = size();
                    ToProgram::Resize(lkc_protocol::message::TerminalSize { columns, rows })
                }
            };
            // A queue that is full is one more reason to look for the next signal.
            tokio::select! {
                _ = pieces.send(piece) => {}
                _ = self.interrupt.recv() => return,
            }
        }
    }
}
