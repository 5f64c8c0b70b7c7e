//! `lkc-guest execute`: a process of root's that systemd starts for one program. It starts the
//! program, gives the ends of its pipes or of its terminal to the agent, sends it the signals that
//! the agent asks for, and tells its end.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use lkc_protocol::{
    exec::{ProgramEnd, Signal},
    message::Exec,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use thiserror::Error;
use tokio::{
    io::Interest,
    net::{UnixStream, unix::OwnedReadHalf},
};

use super::program::{Child, Group, NotRun, Program};
use crate::steward::{Over, Refused, Signalled, Started, read, send, socket_of_stdin};

/// Why a program cannot be run for an agent.
#[derive(Debug, Error)]
pub enum ExecuteError {
    /// Nobody is there to run it for.
    #[error("standard input is no connection of the agent's: lkc-exec.socket starts this")]
    Socket(#[source] io::Error),
    /// The agent has gone, or says something else.
    #[error("the agent does not say what to run")]
    Agent(#[source] io::Error),
}

/// Runs the program that the agent at the other end of standard input asks for.
///
/// # Errors
/// See [`ExecuteError`].
pub async fn serve_one() -> Result<(), ExecuteError> {
    let stream = socket_of_stdin().and_then(|socket| {
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket)
    });
    serve(stream.map_err(ExecuteError::Socket)?)
        .await
        .map_err(ExecuteError::Agent)
}

pub(super) async fn serve(mut stream: UnixStream) -> io::Result<()> {
    let message = read(&mut stream).await?;
    let message = message.ok_or(io::ErrorKind::UnexpectedEof)?;
    let wanted: Exec = message.decode().map_err(io::Error::other)?;
    let started = Program::new(&wanted)
        .map_err(NotRun::from)
        .and_then(|program| Ok(program.start()?));
    let (child, group, ends) = match started {
        Ok(running) => running.into_parts()?,
        Err(not_run) => {
            give(&stream, &[]).await?;
            return match not_run {
                NotRun::Refused(refusal) => send(&mut stream, &Refused::from(refusal)).await,
                NotRun::Failed { status, text } => {
                    let failed = Some((status, text));
                    send(&mut stream, &Started { failed }).await
                }
            };
        }
    };
    give(&stream, &ends).await?;
    // Nobody but the program and the agent holds them: the end of one is what the other hears.
    drop(ends);
    send(&mut stream, &Started { failed: None }).await?;
    attend(child, group, stream).await
}

async fn attend(mut child: Child, group: Group, stream: UnixStream) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let ended = tokio::select! {
        ended = child.wait() => ended?,
        // The program hears of it as its group is dropped.
        () = hear(&mut reader, &group) => return Ok(()),
    };
    group.let_go();
    let (killed, number) = match ended {
        ProgramEnd::Exited(status) => (false, status),
        ProgramEnd::Killed(signal) => (true, signal),
    };
    send(&mut writer, &Over { killed, number }).await
}

/// Passes signals on until the agent has gone.
async fn hear(reader: &mut OwnedReadHalf, group: &Group) {
    while let Ok(Some(message)) = read(reader).await {
        let Ok(Signalled { number }) = message.decode() else {
            return;
        };
        let known = Signal::ALL
            .into_iter()
            .find(|&signal| signal as u8 == number);
        if let Some(signal) = known {
            group.signal(signal);
        }
    }
}

/// Sends one byte, and the descriptors with it.
async fn give(stream: &UnixStream, ends: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = ends.iter().map(|end| end.as_fd()).collect();
    let give = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let slices = [IoSlice::new(&[0])];
        let sent = sendmsg(
            stream.as_fd(),
            &slices,
            &mut control,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        )?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    };
    stream.async_io(Interest::WRITABLE, give).await
}
