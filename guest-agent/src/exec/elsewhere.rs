//! A program that a process of root's starts for an agent without privileges. Its pipes or its
//! terminal come over: nothing that a host says passes through that process.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    process as std_process,
};

use lkc_protocol::{
    codec,
    error::{Refusal, RefusalCode},
    exec::{ProgramEnd, Signal},
    message::Exec,
};
use pty_process::Pty;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{
    io::Interest,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{ChildStderr, ChildStdin, ChildStdout},
};

use super::program::{Child, Group, Input, NotRun, Output, Running, of_terminal};
use crate::steward::{Over, Refused, Signalled, Started, Steward, read, send};

/// The program's end, as it is told.
pub(super) struct Far(OwnedReadHalf);

/// Its processes: with this they are told that their terminal is gone.
pub(super) struct FarGroup(OwnedWriteHalf);

/// Has it started.
///
/// # Errors
/// See [`NotRun`].
pub(super) async fn start(steward: &Steward, wanted: &Exec) -> Result<Running, NotRun> {
    let failed = |error: io::Error| {
        let text = format!(
            "lkc-exec, which runs programs for the agent, does not answer: {error}; see \
             `systemctl status lkc-exec.socket` in the guest"
        );
        NotRun::Refused(Refusal::new(RefusalCode::Failed, text))
    };
    let mut stream = steward.executor().await.map_err(failed)?;
    send(&mut stream, wanted).await.map_err(failed)?;
    let ends = ends(&stream).await.map_err(failed)?;
    let message = read(&mut stream).await.map_err(failed)?;
    let message = message.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
    if let Ok(refused) = message.decode::<Refused>() {
        return Err(NotRun::Refused(refused.into()));
    }
    match message.decode::<Started>() {
        Ok(Started {
            failed: Some((status, text)),
        }) => Err(NotRun::Failed { status, text }),
        Ok(Started { failed: None }) => running(stream, ends).map_err(failed),
        Err(error) => Err(failed(io::Error::other(error))),
    }
}

/// What comes with the first byte.
async fn ends(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let receive = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(stream.as_fd(), &mut slices, &mut control, flags)?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut ends = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                ends.extend(descriptors);
            }
        }
        Ok(ends)
    };
    stream.async_io(Interest::READABLE, receive).await
}

fn running(stream: UnixStream, ends: Vec<OwnedFd>) -> io::Result<Running> {
    let (reader, writer) = stream.into_split();
    let (child, group) = (Child::Far(Far(reader)), Group::Far(FarGroup(writer)));
    let mut ends = ends.into_iter();
    Ok(match (ends.next(), ends.next(), ends.next()) {
        (Some(input), Some(output), Some(errors)) => {
            let input = std_process::ChildStdin::from(input);
            let output = std_process::ChildStdout::from(output);
            let errors = std_process::ChildStderr::from(errors);
            Running {
                child,
                group,
                input: Input::Pipe(ChildStdin::from_std(input)?),
                output: Some(Output::Pipe(ChildStdout::from_std(output)?)),
                errors: Some(ChildStderr::from_std(errors)?),
            }
        }
        (Some(terminal), None, None) => {
            let (output, input) = terminal_of(terminal)?.into_split();
            Running {
                child,
                group,
                input: Input::Terminal(input),
                output: Some(Output::Terminal(output)),
                errors: None,
            }
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

#[expect(
    unsafe_code,
    reason = "the crate takes a terminal from elsewhere only so"
)]
fn terminal_of(descriptor: OwnedFd) -> io::Result<Pty> {
    // Fails for what is no terminal.
    rustix::termios::tcgetwinsize(&descriptor)?;
    rustix::io::ioctl_fionbio(&descriptor, true)?;
    // SAFETY: it is open, a terminal, and does not block.
    unsafe { Pty::from_fd(descriptor) }.map_err(of_terminal)
}

impl Far {
    /// How it ended.
    pub(super) async fn end(&mut self) -> io::Result<ProgramEnd> {
        let message = read(&mut self.0).await?;
        let message = message.ok_or(io::ErrorKind::UnexpectedEof)?;
        let over: Over = message.decode().map_err(io::Error::other)?;
        Ok(if over.killed {
            ProgramEnd::Killed(over.number)
        } else {
            ProgramEnd::Exited(over.number)
        })
    }
}

impl FarGroup {
    pub(super) fn signal(&self, signal: Signal) {
        let message = codec::encode(&Signalled {
            number: signal as u8,
        });
        // There is room: each is some bytes, and they are read at once.
        if let Err(error) = self.0.try_write(&message) {
            tracing::debug!(%error, "a program cannot be sent a signal");
        }
    }
}
