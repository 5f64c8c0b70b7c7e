//! Joins a UDP socket that is connected to its target and a stream of datagrams.
//!
//! What the stream has no room for is dropped. Who sends too much into the guest is slowed by the
//! stream's credit, and drops on its own side. The system's word that nobody listens at the target
//! is passed on, and ends nothing.

use std::io;

use bytes::BytesMut;
use lkc_protocol::{
    datagram::{self, Decoder, Item},
    link::{ReadHalf, Stream, StreamError, WriteHalf},
};
use tokio::{io::Interest, net::UdpSocket};

/// Room for any datagram. One that is cut off has more bytes than can be carried.
const BUFFER: usize = 64 * 1024;

/// Bytes of datagrams that are handed to the stream at once.
const BATCH: usize = 64 * 1024;

/// Why the datagrams of a stream end.
#[derive(Debug, thiserror::Error)]
pub enum DatagramsEnd {
    /// The host finished the stream.
    #[error("finished")]
    Finished,
    /// The host reset the stream, or the link is down.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// What the host sends are no datagrams.
    #[error(transparent)]
    Malformed(#[from] datagram::BadLength),
    /// The socket fails.
    #[error("the socket fails")]
    Socket(#[source] io::Error),
}

/// Passes datagrams on in both directions until the stream ends.
pub async fn relay(socket: &UdpSocket, stream: &Stream) -> DatagramsEnd {
    let (reader, writer) = stream.halves();
    let ended = tokio::select! {
        ended = to_target(socket, reader, writer) => ended,
        ended = from_target(socket, writer) => ended,
    };
    match ended {
        Ok(()) => DatagramsEnd::Finished,
        Err(end) => end,
    }
}

async fn to_target(
    socket: &UdpSocket,
    reader: ReadHalf<'_>,
    writer: WriteHalf<'_>,
) -> Result<(), DatagramsEnd> {
    let mut decoder = Decoder::default();
    while let Some(mut bytes) = reader.read().await? {
        while let Some(item) = decoder.next(&mut bytes)? {
            let Item::Datagram(datagram) = item else {
                // Only a guest says that a target refused.
                continue;
            };
            if !send(socket, &datagram, writer).await? {
                // The system told of an earlier datagram and did not send this one.
                send(socket, &datagram, writer).await?;
            }
        }
    }
    Ok(())
}

/// Whether it was sent, or will never be.
async fn send(
    socket: &UdpSocket,
    datagram: &[u8],
    writer: WriteHalf<'_>,
) -> Result<bool, DatagramsEnd> {
    match socket.send(datagram).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tell_refused(writer)?;
            Ok(false)
        }
        Err(error) => {
            tracing::debug!(%error, "a datagram was not sent");
            Ok(true)
        }
    }
}

fn tell_refused(writer: WriteHalf<'_>) -> Result<(), StreamError> {
    let mut notice = BytesMut::new();
    datagram::put_refused(&mut notice);
    writer.try_write(notice.freeze()).map(drop)
}

async fn from_target(socket: &UdpSocket, writer: WriteHalf<'_>) -> Result<(), DatagramsEnd> {
    loop {
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await;
        let ready = ready.map_err(DatagramsEnd::Socket)?;
        // Only while there is something to read: an idle association holds no buffer.
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut batch = BytesMut::new();
        if ready.is_error() && was_refused(socket) {
            datagram::put_refused(&mut batch);
        }
        while batch.len() < BATCH {
            buffer.clear();
            match socket.try_recv_buf(&mut buffer) {
                Ok(_) => {
                    if let Err(error) = datagram::put(&buffer, &mut batch) {
                        tracing::debug!("dropped: {error}");
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    io::ErrorKind::ConnectionRefused => datagram::put_refused(&mut batch),
                    // Other news of the network about what was sent: nothing that ends anything.
                    io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(DatagramsEnd::Socket(error)),
                },
            }
        }
        if !batch.is_empty() {
            let length = batch.len();
            if !writer.try_write(batch.freeze())? {
                tracing::trace!(length, "dropped: the stream has no room");
            }
        }
    }
}

/// Takes the error that waits to be told, if any: news of the network about what was sent.
fn was_refused(socket: &UdpSocket) -> bool {
    let error = socket.try_io(Interest::ERROR, || {
        let waiting = socket.take_error()?;
        waiting.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    });
    error.is_ok_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests;
