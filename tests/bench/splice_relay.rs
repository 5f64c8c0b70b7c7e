//! Two hops whose bytes never enter user space, joined by a unix socket per connection: what a
//! tunnel without a multiplexer could be at best. Possible only where both ends can listen.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream as StdTcpStream},
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
    path::PathBuf,
};

use nix::{
    fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice},
    unistd::pipe2,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::Interest,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::Builder,
    task::JoinSet,
};

use crate::{
    Failure,
    tunnel::{answer, order, until_ended},
};

/// Bytes that a pipe holds between two sockets.
const PIPE: usize = 256 * 1024;

/// What a hop is told: where it listens and where it leads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SpliceOrder {
    /// From a TCP port of its choice to a unix socket.
    Enter(PathBuf),
    /// From a unix socket to a TCP address.
    Leave(PathBuf, SocketAddr),
}

/// Answers with the address or path that it relays.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run() -> Result<(), Failure> {
    let (order, ended): (SpliceOrder, _) = order()?;
    let what = || Failure::to("listen");
    until_ended(Builder::new_multi_thread(), ended, async move {
        let mut connections = JoinSet::new();
        match order {
            SpliceOrder::Enter(path) => {
                let listener = TcpListener::bind("127.0.0.1:0").await.map_err(what())?;
                answer(&listener.local_addr().map_err(what())?.to_string())?;
                loop {
                    let (client, _) = listener.accept().await.map_err(what())?;
                    connections.spawn(enter(client, path.clone()));
                    while connections.try_join_next().is_some() {}
                }
            }
            SpliceOrder::Leave(path, target) => {
                let listener = UnixListener::bind(&path).map_err(what())?;
                answer("listening")?;
                loop {
                    let (client, _) = listener.accept().await.map_err(what())?;
                    connections.spawn(leave(client, target));
                    while connections.try_join_next().is_some() {}
                }
            }
        }
    })
}

// How a connection ended is for its two ends to see.

async fn enter(client: TcpStream, path: PathBuf) {
    if let Ok(next) = UnixStream::connect(path).await {
        let _ = join(client, next).await;
    }
}

async fn leave(client: UnixStream, target: SocketAddr) {
    if let Ok(next) = TcpStream::connect(target).await {
        let _ = join(next, client).await;
    }
}

async fn join(tcp: TcpStream, unix: UnixStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tokio::try_join!(pump(&tcp, &unix), pump(&unix, &tcp))?;
    Ok(())
}

/// Moves bytes until `from` ends, and then ends that direction of `to`.
async fn pump(from: &impl Socket, to: &impl Socket) -> io::Result<()> {
    let (taken, given) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
    let size = i32::try_from(PIPE).unwrap_or(i32::MAX);
    fcntl(&given, FcntlArg::F_SETPIPE_SZ(size))?;
    loop {
        // The pipe is empty, so what would block is the socket.
        let mut left = from.read_with(|| move_bytes(from, &given, PIPE)).await?;
        if left == 0 {
            return to.finish();
        }
        while left > 0 {
            left -= to.write_with(|| move_bytes(&taken, to, left)).await?;
        }
    }
}

fn move_bytes(from: impl AsFd, to: impl AsFd, count: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    Ok(splice(from, None, to, None, count, flags)?)
}

/// What the two kinds of sockets have in common.
trait Socket: AsFd {
    /// Waits until it is readable and `read` does not block.
    async fn read_with(&self, read: impl FnMut() -> io::Result<usize>) -> io::Result<usize>;
    /// Waits until it is writable and `write` does not block.
    async fn write_with(&self, write: impl FnMut() -> io::Result<usize>) -> io::Result<usize>;
    /// Ends the direction that we write.
    fn finish(&self) -> io::Result<()>;
}

impl Socket for TcpStream {
    async fn read_with(&self, read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.async_io(Interest::READABLE, read).await
    }

    async fn write_with(&self, write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.async_io(Interest::WRITABLE, write).await
    }

    fn finish(&self) -> io::Result<()> {
        let same = self.as_fd().try_clone_to_owned()?;
        StdTcpStream::from(same).shutdown(Shutdown::Write)
    }
}

impl Socket for UnixStream {
    async fn read_with(&self, read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.async_io(Interest::READABLE, read).await
    }

    async fn write_with(&self, write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
        self.async_io(Interest::WRITABLE, write).await
    }

    fn finish(&self) -> io::Result<()> {
        let same = self.as_fd().try_clone_to_owned()?;
        StdUnixStream::from(same).shutdown(Shutdown::Write)
    }
}
