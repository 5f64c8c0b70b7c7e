//! Joins a TCP connection and a stream so that neither end can tell them from one connection.
//!
//! An end of one direction stays an end of that direction, a reset becomes a reset, and the loss of
//! the link is a reset too: a client never takes a broken connection for a complete answer.

use std::{
    fmt, io,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf as TcpReadHalf, WriteHalf as TcpWriteHalf},
    },
};

use crate::{
    error::ResetCode,
    link::{ReadHalf, Stream, StreamError, WriteHalf},
};

/// Bytes read from the TCP connection at once.
const READ_SIZE: usize = 64 * 1024;

/// Bytes that passed, counted as they pass.
#[derive(Debug, Default)]
pub struct Counters {
    /// From the TCP connection into the stream.
    pub sent: AtomicU64,
    /// From the stream into the TCP connection.
    pub received: AtomicU64,
}

/// How a relayed connection ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both directions ended cleanly.
    Finished,
    /// The TCP connection was reset or failed; the stream is reset.
    Tcp(io::Error),
    /// The stream was reset or the link was lost; the TCP connection is reset.
    Stream(StreamError),
}

impl fmt::Display for RelayEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => formatter.pad("finished"),
            Self::Tcp(error) => write!(formatter, "connection: {error}"),
            Self::Stream(error) => write!(formatter, "tunnel: {error}"),
        }
    }
}

/// Relays until both directions have ended or one end fails. Dropping the future resets both.
pub async fn relay(tcp: TcpStream, stream: Stream, counters: &Counters) -> RelayEnd {
    let mut tcp = ResetUnlessFinished {
        tcp,
        finished: false,
    };
    // Small writes are somebody's keystrokes or requests; the sender has decided when to send.
    let _ = tcp.tcp.set_nodelay(true);
    let result = {
        let (tcp_reader, tcp_writer) = tcp.tcp.split();
        let (reader, writer) = stream.halves();
        let sending = send(&tcp_reader, writer, &stream, &counters.sent);
        let receiving = receive(reader, tcp_writer, &counters.received);
        both(sending, receiving, &tcp_reader, reader).await
    };
    match result {
        Ok(()) => {
            tcp.finished = true;
            RelayEnd::Finished
        }
        Err(end) => {
            if matches!(end, RelayEnd::Tcp(_)) {
                stream.reset(ResetCode::ConnectionReset);
            }
            end
        }
    }
}

/// A connection that its other end sees reset, however we let go of it, unless it is finished.
struct ResetUnlessFinished {
    tcp: TcpStream,
    finished: bool,
}

impl Drop for ResetUnlessFinished {
    fn drop(&mut self) {
        if !self.finished {
            // A socket that refuses the option is closed all the same.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

/// Closes a TCP connection so that its other end sees a reset.
pub fn reset_tcp(tcp: TcpStream) {
    // A socket that refuses the option is closed all the same.
    let _ = tcp.set_zero_linger();
    drop(tcp);
}

/// Runs both directions to their ends. Where one has ended, nobody reads there any more, and a
/// reset that follows the end shows only to who watches for it.
async fn both(
    sending: impl Future<Output = Result<(), RelayEnd>>,
    receiving: impl Future<Output = Result<(), RelayEnd>>,
    tcp: &TcpReadHalf<'_>,
    reader: ReadHalf<'_>,
) -> Result<(), RelayEnd> {
    let (mut sending, mut receiving) = (pin!(sending), pin!(receiving));
    tokio::select! {
        sent = &mut sending => {
            sent?;
            tokio::select! {
                biased;
                received = receiving => received,
                error = tcp_failure(tcp) => Err(RelayEnd::Tcp(error)),
            }
        }
        received = &mut receiving => {
            received?;
            tokio::select! {
                biased;
                sent = sending => sent,
                error = reader.reset() => Err(RelayEnd::Stream(error)),
            }
        }
    }
}

async fn tcp_failure(tcp: &TcpReadHalf<'_>) -> io::Error {
    match tcp.ready(Interest::ERROR).await {
        Ok(_) => tcp.as_ref().take_error().ok().flatten(),
        Err(error) => Some(error),
    }
    .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}

async fn send(
    tcp: &TcpReadHalf<'_>,
    writer: WriteHalf<'_>,
    stream: &Stream,
    sent: &AtomicU64,
) -> Result<(), RelayEnd> {
    loop {
        tcp.readable().await.map_err(RelayEnd::Tcp)?;
        // Allocated only once there is something to read: an idle connection holds no buffer.
        let mut buffer = BytesMut::with_capacity(READ_SIZE);
        match tcp.try_read_buf(&mut buffer) {
            Ok(0) => {
                stream.finish();
                return Ok(());
            }
            Ok(count) => {
                sent.fetch_add(count as u64, Ordering::Relaxed);
                // A few bytes must not keep a whole read buffer alive while they wait.
                let few = count < READ_SIZE / 4;
                let bytes = if few {
                    Bytes::copy_from_slice(&buffer)
                } else {
                    buffer.freeze()
                };
                writer.write(bytes).await.map_err(RelayEnd::Stream)?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(RelayEnd::Tcp(error)),
        }
    }
}

async fn receive(
    reader: ReadHalf<'_>,
    mut tcp: TcpWriteHalf<'_>,
    received: &AtomicU64,
) -> Result<(), RelayEnd> {
    while let Some(bytes) = reader.read().await.map_err(RelayEnd::Stream)? {
        tcp.write_all(&bytes).await.map_err(RelayEnd::Tcp)?;
        received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
    match tcp.shutdown().await {
        // The client is gone already; it has everything.
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(RelayEnd::Tcp(error)),
        _ => Ok(()),
    }
}
