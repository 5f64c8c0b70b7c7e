//! What is at the end of a carrier without a link, and behind the agent with one: swallows bytes, or
//! gives them, as the first one says.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    task::JoinHandle,
};

use crate::Failure;

/// Bytes per call.
const BLOCK: usize = 64 * 1024;

/// How long a connection that was ended may take to be gone, with what is on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which way bytes go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    /// Into the guest.
    Into,
    /// Out of the guest.
    OutOf,
}

impl Direction {
    const fn word(self) -> u8 {
        match self {
            Self::Into => b'i',
            Self::OutOf => b'o',
        }
    }
}

/// A listener on a unix socket and for TCP.
pub(super) struct Peer {
    pub(super) tcp: SocketAddr,
    counted: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl Peer {
    pub(super) fn start(path: &Path) -> Result<Self, Failure> {
        let what = || Failure::to("listen for bare bytes");
        let unix = UnixListener::bind(path).map_err(what())?;
        let tcp = TcpListener::bind("127.0.0.1:0").map_err(what())?;
        let peer = Self {
            tcp: tcp.local_addr().map_err(what())?,
            counted: Arc::default(),
            open: Arc::default(),
        };
        // Both end with the process.
        let server = peer.server();
        thread::spawn(move || {
            while let Ok((stream, _)) = unix.accept() {
                server.serve(stream);
            }
        });
        let server = peer.server();
        thread::spawn(move || {
            while let Ok((stream, _)) = tcp.accept() {
                server.serve(stream);
            }
        });
        Ok(peer)
    }

    fn server(&self) -> Server {
        Server {
            counted: Arc::clone(&self.counted),
            open: Arc::clone(&self.open),
        }
    }

    /// Bytes that have arrived at their end so far, whichever way.
    pub(super) fn counted(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Moves bytes over `stream` until it is told to end.
    pub(super) fn talk<S>(&self, stream: S, direction: Direction) -> Moving
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let counted = Arc::clone(&self.counted);
        Moving(tokio::spawn(talk(stream, direction, counted)))
    }

    /// Waits until no connection is left, so that nothing of it counts any more.
    pub(super) async fn is_alone(&self) -> Result<(), Failure> {
        let since = Instant::now();
        while self.open.load(Ordering::Acquire) > 0 {
            if since.elapsed() > PATIENCE {
                return Err(Failure::Candidate("a connection does not end".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Bytes that are moving.
pub(super) struct Moving(JoinHandle<()>);

impl Moving {
    /// Cuts the connection.
    pub(super) async fn end(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

async fn talk<S>(mut stream: S, direction: Direction, counted: Arc<AtomicU64>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if stream.write_all(&[direction.word()]).await.is_err() || stream.flush().await.is_err() {
        return;
    }
    let mut block = vec![0; BLOCK];
    match direction {
        Direction::Into => while stream.write_all(&block).await.is_ok() {},
        Direction::OutOf => {
            while let Ok(count @ 1..) = stream.read(&mut block).await {
                counted.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    }
}

#[derive(Clone)]
struct Server {
    counted: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl Server {
    fn serve(&self, mut stream: impl Read + Write + Send + 'static) {
        let server = self.clone();
        server.open.fetch_add(1, Ordering::AcqRel);
        thread::spawn(move || {
            let mut word = [0];
            let mut block = vec![0; BLOCK];
            if stream.read_exact(&mut word).is_ok() {
                if word == [Direction::OutOf.word()] {
                    while stream.write_all(&block).is_ok() {}
                } else {
                    while let Ok(count @ 1..) = stream.read(&mut block) {
                        server.counted.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
            }
            server.open.fetch_sub(1, Ordering::AcqRel);
        });
    }
}
