//! One end of the pair: datagrams between two processes of one kernel, with sockets on them.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixDatagram,
    },
};

use rustix::{
    cmsg_space,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

/// Longest datagram: a proof.
const LONGEST: usize = 32;

/// One end. No call on it blocks.
#[derive(Debug)]
pub(super) struct PairEnd(OwnedFd);

/// What came in one datagram.
#[derive(Debug)]
pub(super) struct Datagram {
    bytes: [u8; LONGEST],
    length: usize,
    /// The socket that came with it, if any.
    pub(super) socket: Option<OwnedFd>,
}

impl Datagram {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl PairEnd {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) = UnixDatagram::pair()?;
        Ok((Self(ours.into()), Self(theirs.into())))
    }

    pub(super) fn send(&self, bytes: &[u8], socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        send_with(self.0.as_fd(), bytes, socket).map(drop)
    }

    /// The next datagram; `WouldBlock` when there is none.
    pub(super) fn receive(&self) -> io::Result<Datagram> {
        let mut bytes = [0; LONGEST];
        let (length, socket) = receive_with(self.0.as_fd(), &mut bytes)?;
        Ok(Datagram {
            bytes,
            length,
            socket,
        })
    }
}

impl From<OwnedFd> for PairEnd {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl From<PairEnd> for OwnedFd {
    fn from(end: PairEnd) -> Self {
        end.0
    }
}

/// Sends `bytes` with a descriptor.
pub(super) fn send_with(
    to: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::DONTWAIT;
    Ok(sendmsg(to, &[IoSlice::new(bytes)], &mut control, flags)?)
}

/// Receives bytes, and the descriptor that came with them if there was one.
pub(super) fn receive_with(
    from: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(bytes)];
    let received = recvmsg(from, &mut slices, &mut control, flags())?;
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            // More than were asked for do not fit, and the kernel closes them.
            descriptor = descriptors.into_iter().last();
        }
    }
    Ok((received.bytes, descriptor))
}

/// A descriptor must not leak into a child that is started at the same moment. Where the system
/// cannot promise that, nothing is ever handed over: its carriers lead to another kernel.
fn flags() -> RecvFlags {
    #[cfg(not(target_os = "macos"))]
    return RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_os = "macos")]
    return RecvFlags::DONTWAIT;
}
