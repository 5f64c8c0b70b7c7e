//! The sockets that a relay joins to a stream or to each other.

use std::{
    io::{self, IoSlice},
    os::fd::AsFd,
};

use rustix::{
    buffer::spare_capacity,
    net::{
        RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
        sockopt::set_socket_linger,
    },
};
use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};

/// A connected stream socket whose two directions end apart.
///
/// No call of these blocks, not even on a socket whose other holders have made it blocking: one
/// that was handed over by another process may be shared with it still.
pub trait Socket: AsFd + Send + Sync {
    /// Waits until it is ready, or may be.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<()>> + Send;

    /// Runs `operation`, and forgets the readiness when it would have blocked.
    ///
    /// # Errors
    /// Those of `operation`; `WouldBlock` also when the socket is known not to be ready.
    fn attempt<T>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T>;

    /// Sends what is written at once: whoever writes has decided when to send.
    fn send_at_once(&self);

    /// Lets the other end see a reset when the socket is closed, where its kind has resets.
    fn reset_on_close(&self);

    /// Lets the other end see an end when the socket is closed.
    fn end_on_close(&self);

    /// The error that waits to be told, if any.
    fn take_error(&self) -> Option<io::Error>;

    /// Appends what has arrived to `buffer`, within its capacity. Zero at the end.
    ///
    /// # Errors
    /// `WouldBlock`, or why the connection failed.
    fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.attempt(Interest::READABLE, || {
            Ok(recv(self, spare_capacity(buffer), RecvFlags::DONTWAIT)?.0)
        })
    }

    /// Sends the beginning of `bytes`, and says how many of them.
    ///
    /// # Errors
    /// `WouldBlock`, or why the connection failed.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(Interest::WRITABLE, || {
            Ok(send(self, bytes, SendFlags::DONTWAIT)?)
        })
    }

    /// The same for the beginning of pieces.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    fn send_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.attempt(Interest::WRITABLE, || {
            let mut none = SendAncillaryBuffer::default();
            Ok(sendmsg(self, pieces, &mut none, SendFlags::DONTWAIT)?)
        })
    }

    /// Says that no more follows. One whose other end is gone already has nobody to tell.
    ///
    /// # Errors
    /// What the system says.
    fn finish(&self) -> io::Result<()> {
        match shutdown(self, Shutdown::Write) {
            Err(rustix::io::Errno::NOTCONN) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Waits until it has failed, a reset by the other end included. Why is still to be told by the
    /// read that comes to it, behind what has arrived.
    fn failed(&self) -> impl Future<Output = ()> + Send {
        async {
            // A socket that cannot be waited for is of no use either.
            let _ = self.ready(Interest::ERROR).await;
        }
    }

    /// Waits until it has failed, and says why. For one that has nothing more to read: the error is
    /// told only once, and without it a reset looks like an end.
    fn failure(&self) -> impl Future<Output = io::Error> + Send {
        async {
            self.failed().await;
            self.reason()
        }
    }

    /// Why it has failed.
    fn reason(&self) -> io::Error {
        let told = self.take_error();
        told.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl Socket for TcpStream {
    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.ready(interest).await.map(drop)
    }

    fn attempt<T>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.try_io(interest, operation)
    }

    fn send_at_once(&self) {
        // A socket that refuses the option is only slower.
        let _ = self.set_nodelay(true);
    }

    fn reset_on_close(&self) {
        // A socket that refuses the option is closed all the same.
        let _ = self.set_zero_linger();
    }

    fn end_on_close(&self) {
        // One that refuses the option gives a reset after the end, which is seen as an end.
        let _ = set_socket_linger(self, None);
    }

    fn take_error(&self) -> Option<io::Error> {
        self.take_error().ok().flatten()
    }
}

/// A unix socket knows no reset of its own: its other end sees one only when it is closed while
/// something that it sent is unread, and an end otherwise.
impl Socket for UnixStream {
    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.ready(interest).await.map(drop)
    }

    fn attempt<T>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        self.try_io(interest, operation)
    }

    fn send_at_once(&self) {}

    fn reset_on_close(&self) {}

    fn end_on_close(&self) {}

    fn take_error(&self) -> Option<io::Error> {
        self.take_error().ok().flatten()
    }
}

/// A socket that its other end sees reset, however it is let go of, unless it is finished: also when
/// this process is killed, and the kernel closes its sockets.
#[derive(Debug)]
pub(super) struct ResetUnlessFinished<S: Socket>(S);

impl<S: Socket> ResetUnlessFinished<S> {
    pub(super) fn new(socket: S) -> Self {
        socket.send_at_once();
        socket.reset_on_close();
        Self(socket)
    }

    pub(super) const fn socket(&self) -> &S {
        &self.0
    }

    /// Closes it as one whose both directions have ended.
    pub(super) fn finished(self) {
        self.0.end_on_close();
    }
}
