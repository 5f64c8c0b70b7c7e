//! One end of the pair: datagrams between two processes of one kernel, with sockets on them.

use std::{
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
};

use rustix::{
    cmsg_space,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
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

/// Receives bytes, and the descriptor that came with them if there was one. Every other descriptor
/// is closed: of a pair, the other end's holder may have kept this end too, and can have the kernel
/// add a descriptor of the sender to what comes (`SO_PASSPIDFD`), which [`rustix`] would pass over.
#[expect(unsafe_code, reason = "no library gives all descriptors out as owned")]
pub(super) fn receive_with(
    from: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut control = [0_u64; 3];
    let mut slice = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all zeroes are a value of this structure: no address, no slices, no control data.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header leads to memory that is ours to write and outlives the call.
    let received = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut header, FLAGS) };
    let count = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let mut descriptor = None;
    // SAFETY: the kernel has filled the control data that the header says, in aligned memory; the
    // macros stay within it. Descriptors in it were made for us and nobody else knows of them.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(one) = message.as_ref() {
            let kind = (one.cmsg_level == libc::SOL_SOCKET).then_some(one.cmsg_type);
            if kind.is_some_and(|kind| kind == libc::SCM_RIGHTS || Some(kind) == SCM_PIDFD) {
                let data = libc::CMSG_DATA(message).cast::<RawFd>();
                let whole: usize = one.cmsg_len as _;
                let length = whole.saturating_sub(libc::CMSG_LEN(0) as usize);
                for place in 0..length / size_of::<RawFd>() {
                    let number = data.add(place).read_unaligned();
                    // In place of a descriptor that could not be made there is an error.
                    let owned = (number >= 0).then(|| OwnedFd::from_raw_fd(number));
                    if kind == Some(libc::SCM_RIGHTS) {
                        descriptor = owned;
                    }
                }
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    Ok((count, descriptor))
}

/// A descriptor must not leak into a child that is started at the same moment. Where the system
/// cannot promise that, nothing is ever handed over: its carriers lead to another kernel.
#[cfg(not(target_os = "macos"))]
const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
#[cfg(target_os = "macos")]
const FLAGS: libc::c_int = libc::MSG_DONTWAIT;

/// Control data that holds a descriptor of the sending process.
#[cfg(target_os = "linux")]
const SCM_PIDFD: Option<libc::c_int> = Some(4);
#[cfg(not(target_os = "linux"))]
const SCM_PIDFD: Option<libc::c_int> = None;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    fn pidfds() -> usize {
        use std::fs;
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links
            .filter(|link| link.to_string_lossy().contains("pidfd"))
            .count()
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[expect(unsafe_code, reason = "no library knows the option")]
    fn descriptors_that_nobody_sent_are_closed() {
        const SO_PASSPIDFD: libc::c_int = 76;
        let (ours, theirs) = PairEnd::pair().unwrap();
        let on: libc::c_int = 1;
        // SAFETY: the option's value is an integer of this length. A kernel that does not know it
        // has no such descriptors.
        unsafe {
            libc::setsockopt(
                ours.0.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PASSPIDFD,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            );
        }
        for _ in 0..8 {
            theirs.send(b"number", None).unwrap();
            let datagram = ours.receive().unwrap();
            assert_eq!(datagram.bytes(), b"number");
            assert!(datagram.socket.is_none());
        }
        assert_eq!(pidfds(), 0, "descriptors are left");
    }

    #[test]
    fn of_several_descriptors_one_is_kept() {
        let (ours, theirs) = PairEnd::pair().unwrap();
        let (watched, other) = UnixDatagram::pair().unwrap();
        let fd = other.as_fd();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let three = [fd, fd, fd];
        assert!(control.push(SendAncillaryMessage::ScmRights(&three)));
        let slices = [IoSlice::new(b"number")];
        sendmsg(&theirs.0, &slices, &mut control, SendFlags::empty()).unwrap();
        let kept = ours.receive().unwrap().socket.unwrap();
        drop(other);
        assert!(watched.send(b"").is_ok(), "none is left");
        drop(kept);
        let gone = watched.send(b"").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionRefused);
    }
}
