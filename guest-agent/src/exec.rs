//! A program that a host runs in the guest: three pipes or a terminal, on one stream.
//!
//! A host that is let in rules the cluster, and who rules a cluster has its nodes: there is nothing
//! to forbid here. The program gets SIGHUP when its stream goes away, as from a terminal that is
//! closed. What ignores that goes on.
//!
//! An agent without privileges does not start it. [`elsewhere`] asks for a process of root's that
//! does, [`one`], and gets the other ends of its pipes or its terminal.

mod elsewhere;
mod one;
mod program;
mod surroundings;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    error::ResetCode,
    exec::{Decoder, FromProgram, ProgramEnd, ToProgram, encode},
    link::{IncomingRequest, ReadHalf, Stream, WriteHalf},
    message::{Exec, Executing},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use crate::host_link::finish;
use crate::steward::Steward;
use program::{Group, Input, NotRun, Program, Running};

pub use one::{ExecuteError, serve_one};

/// Bytes of output that are read at once.
const BLOCK: usize = 16 * 1024;

/// Pieces of input that wait for the program, each at most 64 KiB. With more the host waits, and with
/// it what it sends behind them.
const INPUT_QUEUE: usize = 16;

/// How long the pipes of a program that has ended may stay open without a byte: what it left running
/// may have them, and may keep them for ever.
const QUIET: Duration = Duration::from_millis(200);

/// Runs what is asked for, to its end or to that of the stream; by `steward`'s means if there is one.
pub(crate) async fn run(request: IncomingRequest, wanted: &Exec, steward: Option<&Steward>) {
    let started = match steward {
        None => Program::new(wanted)
            .map_err(NotRun::from)
            .and_then(|program| Ok(program.start()?)),
        Some(steward) => elsewhere::start(steward, wanted).await,
    };
    match started {
        Ok(running) => attend(running, request.accept::<Exec>(&Executing {})).await,
        Err(NotRun::Refused(refusal)) => request.refuse(&refusal),
        Err(NotRun::Failed { status, text }) => {
            let stream = request.accept::<Exec>(&Executing {});
            let (_, writer) = stream.halves();
            let text = format!("lkc-guest: {text}\n");
            let told = tell(writer, &FromProgram::Errors(text.into())).await;
            let end = ProgramEnd::Exited(status);
            if told.is_some() && tell(writer, &FromProgram::Ended(end)).await.is_some() {
                finish(stream).await;
            }
        }
    }
}

async fn attend(running: Running, stream: Stream) {
    let Running {
        mut child,
        group,
        input,
        output,
        errors,
    } = running;
    let (reader, writer) = stream.halves();
    let (pieces, waiting) = mpsc::channel(INPUT_QUEUE);
    let exited = CancellationToken::new();
    let ending = async {
        let status = child.wait().await;
        exited.cancel();
        status
    };
    // Input that nobody takes keeps no program that is over, so only its end and its output count.
    let over = async {
        let said = async {
            tokio::join!(
                pump(output, writer, FromProgram::Output, &exited),
                pump(errors, writer, FromProgram::Errors, &exited),
            )
        };
        tokio::join!(ending, said).0
    };
    let fed = async {
        feed(input, waiting).await;
        std::future::pending().await
    };
    let ended = tokio::select! {
        status = over => status,
        // The program hears of it as its group is dropped.
        () = hear(reader, pieces, &group) => return stream.reset(ResetCode::Cancelled),
        never = fed => never,
    };
    group.let_go();
    match ended {
        Ok(end) => {
            if tell(writer, &FromProgram::Ended(end)).await.is_some() {
                finish(stream).await;
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the end of a program cannot be waited for");
            stream.reset(ResetCode::Failed);
        }
    }
}

/// Takes what the host sends until the host is gone.
async fn hear(reader: ReadHalf<'_>, pieces: mpsc::Sender<ToProgram>, group: &Group) {
    // What is queued for the program may wait, and meanwhile nobody reads.
    tokio::select! {
        () = listen(reader, pieces, group) => {}
        _ = reader.reset() => {}
    }
}

async fn listen(reader: ReadHalf<'_>, pieces: mpsc::Sender<ToProgram>, group: &Group) {
    let mut decoder = Decoder::default();
    while let Ok(bytes) = reader.read().await {
        let Some(bytes) = bytes else {
            // It has nothing more to say; its going is a reset.
            drop(pieces);
            return std::future::pending().await;
        };
        decoder.push(&bytes);
        loop {
            match decoder.pop() {
                Ok(None) => break,
                Ok(Some(ToProgram::Signal(signal))) => group.signal(signal),
                // A program that has closed its input needs no more of it.
                Ok(Some(piece)) => drop(pieces.send(piece).await),
                Err(error) => {
                    tracing::warn!(%error, "what a host sends to a program makes no sense");
                    return;
                }
            }
        }
    }
}

/// Gives the program what has been heard, as it takes it.
async fn feed(input: Input, mut waiting: mpsc::Receiver<ToProgram>) {
    let mut input = Some(input);
    while let Some(piece) = waiting.recv().await {
        let fed = match (piece, &mut input) {
            (_, None) | (ToProgram::Signal(_), _) => Ok(()),
            (ToProgram::Input(bytes), Some(input)) => input.write(&bytes).await,
            (ToProgram::Resize(size), Some(input)) => input.resize(size),
            (ToProgram::InputEnd, Some(last)) => {
                let ended = last.end().await;
                if !last.is_terminal() {
                    input = None;
                }
                ended
            }
        };
        if let Err(error) = fed {
            tracing::trace!(%error, "a program takes no input");
            input = None;
        }
    }
}

/// Passes on what the program writes, until it has closed that or has ended and left it quiet.
async fn pump(
    output: Option<impl AsyncRead + Unpin>,
    writer: WriteHalf<'_>,
    piece: fn(Bytes) -> FromProgram,
    exited: &CancellationToken,
) {
    let Some(mut output) = output else { return };
    let mut block = BytesMut::new();
    loop {
        block.reserve(BLOCK);
        let quiet = async {
            exited.cancelled().await;
            sleep(QUIET).await;
        };
        let read = tokio::select! {
            biased;
            read = output.read_buf(&mut block) => read,
            () = quiet => return,
        };
        // A terminal that nobody has open any more fails to be read.
        if !matches!(read, Ok(1..)) {
            return;
        }
        if tell(writer, &piece(block.split().freeze())).await.is_none() {
            return;
        }
    }
}

/// None when nobody listens any more.
async fn tell(writer: WriteHalf<'_>, piece: &FromProgram) -> Option<()> {
    writer.write(encode(piece)).await.ok()
}

#[cfg(test)]
mod tests;
