//! Joins a connection and a stream so that neither end can tell them from one connection.
//!
//! An end of one direction stays an end of that direction, a reset becomes a reset, and the loss of
//! the link is a reset too: a client never takes a broken connection for a complete answer. What was
//! sent before a reset comes before it ([`reset`]).

mod buffer;
mod connect;
mod join;
mod reset;
mod socket;
#[cfg(target_os = "linux")]
mod splice;
#[cfg(not(target_os = "linux"))]
#[path = "relay/splice_elsewhere.rs"]
mod splice;
mod stdio;

use std::{
    fmt,
    io::{self, IoSlice},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{io::Interest, net::TcpStream};

pub use connect::connect;
pub use join::join;
pub use socket::Socket;
pub use stdio::{RelayTarget, RelayTargetError, StdioError, stdio};

use crate::{
    chunks::Chunks,
    error::ResetCode,
    link::{ReadHalf, Stream, StreamError, WriteHalf},
};
use buffer::Buffer;
use reset::{Cut, after_a_moment, while_it_moves};
use socket::ResetUnlessFinished;

/// Pieces of one vectored write, at most.
const SLICES: usize = 32;

/// Bytes that passed, counted as they pass.
#[derive(Debug, Default)]
pub struct Counters {
    /// From the connection into the stream, or from the client to the target.
    pub sent: AtomicU64,
    /// From the stream into the connection, or from the target to the client.
    pub received: AtomicU64,
}

/// How a relayed connection ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both directions ended cleanly.
    Finished,
    /// The connection was reset or failed; the stream is reset.
    Socket(io::Error),
    /// The stream was reset or the link was lost; the connection is reset.
    Stream(StreamError),
}

impl fmt::Display for RelayEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => formatter.pad("finished"),
            Self::Socket(error) => write!(formatter, "connection: {error}"),
            Self::Stream(error) => write!(formatter, "tunnel: {error}"),
        }
    }
}

/// How two joined connections ended.
#[derive(Debug)]
pub enum JoinEnd {
    /// Both directions ended cleanly.
    Finished,
    /// The client was reset or failed; the target is reset.
    Client(io::Error),
    /// The target was reset or failed; the client is reset.
    Target(io::Error),
}

impl fmt::Display for JoinEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => formatter.pad("finished"),
            Self::Client(error) => write!(formatter, "client: {error}"),
            Self::Target(error) => write!(formatter, "target: {error}"),
        }
    }
}

/// Relays until both directions have ended or one end fails. Dropping the future resets both.
pub async fn relay(socket: impl Socket, stream: Stream, counters: &Counters) -> RelayEnd {
    let socket = ResetUnlessFinished::new(socket);
    let result = both(socket.socket(), &stream, counters).await;
    match result {
        Ok(()) => {
            socket.finished();
            RelayEnd::Finished
        }
        Err(end) => {
            if matches!(end, RelayEnd::Socket(_)) {
                let (_, writer) = stream.halves();
                while_it_moves(pin!(writer.flushed()), || writer.unsent()).await;
                stream.reset(ResetCode::ConnectionReset);
            }
            end
        }
    }
}

/// Closes a TCP connection so that its other end sees a reset.
pub fn reset_tcp(tcp: TcpStream) {
    drop(ResetUnlessFinished::new(tcp));
}

/// Runs both directions to their ends. Where one has ended, nobody reads there any more, and a
/// reset that follows the end shows only to who watches for it. Where one fails to write, the other
/// still has what came before.
async fn both(socket: &impl Socket, stream: &Stream, counters: &Counters) -> Result<(), RelayEnd> {
    let (reader, writer) = stream.halves();
    let cut = Cut::default();
    let mut sending = pin!(send(socket, &cut, writer, stream, &counters.sent));
    let mut receiving = pin!(receive(reader, socket, &counters.received));
    tokio::select! {
        sent = &mut sending => match sent {
            Ok(()) => tokio::select! {
                biased;
                received = receiving => received,
                error = socket.failure() => Err(RelayEnd::Socket(error)),
            },
            Err(RelayEnd::Stream(error)) => {
                receiving.await?;
                Err(RelayEnd::Stream(error))
            }
            Err(end) => Err(end),
        },
        received = &mut receiving => match received {
            Ok(()) => tokio::select! {
                biased;
                sent = sending => sent,
                error = reader.reset() => Err(RelayEnd::Stream(error)),
            },
            Err(RelayEnd::Socket(error)) => {
                cut.note(&error);
                let sent = || counters.sent.load(Ordering::Relaxed);
                if while_it_moves(sending, sent).await.is_none() {
                    stream.reset(ResetCode::ConnectionReset);
                }
                Err(RelayEnd::Socket(error))
            }
            Err(end) => Err(end),
        },
    }
}

async fn send(
    socket: &impl Socket,
    cut: &Cut,
    writer: WriteHalf<'_>,
    stream: &Stream,
    sent: &AtomicU64,
) -> Result<(), RelayEnd> {
    loop {
        let ready = socket.ready(Interest::READABLE).await;
        ready.map_err(RelayEnd::Socket)?;
        // Taken only once there is something to read: an idle connection holds no buffer.
        let mut buffer = Buffer::take();
        match socket.receive(buffer.bytes_mut()) {
            Ok(0) => {
                cut.check_end().map_err(RelayEnd::Socket)?;
                stream.finish();
                return Ok(());
            }
            Ok(count) => {
                // While the stream takes no more, nobody reads the socket.
                tokio::select! {
                    biased;
                    written = writer.write(buffer.freeze()) => written.map_err(RelayEnd::Stream)?,
                    () = after_a_moment(socket.failed()) => {
                        stream.reset(ResetCode::ConnectionReset);
                        return Err(RelayEnd::Socket(socket.reason()));
                    }
                }
                sent.fetch_add(count as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(RelayEnd::Socket(error)),
        }
    }
}

async fn receive(
    reader: ReadHalf<'_>,
    socket: &impl Socket,
    received: &AtomicU64,
) -> Result<(), RelayEnd> {
    let mut chunks = Chunks::default();
    while reader
        .read_chunks(&mut chunks)
        .await
        .map_err(RelayEnd::Stream)?
    {
        while !chunks.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = chunks.fill(&mut slices);
            match socket.send_vectored(&slices[..filled]) {
                Ok(count) => {
                    chunks.advance(count);
                    received.fetch_add(count as u64, Ordering::Relaxed);
                }
                // While the socket takes no more, nobody reads the stream.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::select! {
                    biased;
                    ready = socket.ready(Interest::WRITABLE) => ready.map_err(RelayEnd::Socket)?,
                    error = after_a_moment(reader.reset()) => return Err(RelayEnd::Stream(error)),
                },
                Err(error) => return Err(RelayEnd::Socket(error)),
            }
        }
    }
    socket.finish().map_err(RelayEnd::Socket)
}
