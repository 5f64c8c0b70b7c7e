//! Messages on a unix socket: the codec's own envelopes, one behind the other.

use std::{
    io,
    os::{fd::AsFd as _, unix::net::UnixStream},
};

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    codec::{DecodeError, ENVELOPE_LENGTH, Envelope, RawMessage, encode},
    message::Body,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The next message; none at the end. What it claims to need is bounded by the codec.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<RawMessage>> {
    let mut head = [0; ENVELOPE_LENGTH];
    match stream.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let envelope = Envelope::parse(&head).map_err(malformed)?;
    let mut message = BytesMut::zeroed(envelope.message_length());
    message[..ENVELOPE_LENGTH].copy_from_slice(&head);
    stream.read_exact(&mut message[ENVELOPE_LENGTH..]).await?;
    let message: Bytes = message.freeze();
    RawMessage::parse(&message).map(Some).map_err(malformed)
}

/// Sends a message.
pub(crate) async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Body,
) -> io::Result<()> {
    stream.write_all(&encode(message)).await
}

/// Messages of a stream on which nothing else comes.
pub(super) struct Messages<R> {
    stream: R,
    read: BytesMut,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub(super) fn of(stream: R) -> Self {
        let read = BytesMut::new();
        Self { stream, read }
    }

    /// As [`read`], and cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<RawMessage>> {
        loop {
            if self.read.len() >= ENVELOPE_LENGTH {
                let envelope = Envelope::parse(&self.read).map_err(malformed)?;
                if self.read.len() >= envelope.message_length() {
                    let message = self.read.split_to(envelope.message_length()).freeze();
                    return RawMessage::parse(&message).map(Some).map_err(malformed);
                }
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                let is_whole = self.read.is_empty();
                return if is_whole {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

pub(super) fn malformed(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The socket that systemd gives as standard input.
pub(crate) fn socket_of_stdin() -> io::Result<UnixStream> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use lkc_protocol::message::NetworkStatus;

    use super::super::message::{Done, StopK3s};
    use super::*;

    #[tokio::test]
    async fn messages_come_one_after_the_other() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        send(&mut near, &StopK3s { grace_ms: 7 }).await.unwrap();
        send(&mut near, &NetworkStatus {}).await.unwrap();
        drop(near);
        let first = read(&mut far).await.unwrap().unwrap();
        assert_eq!(first.decode::<StopK3s>().unwrap().grace_ms, 7);
        assert!(first.decode::<Done>().is_err());
        let second = read(&mut far).await.unwrap().unwrap();
        assert_eq!(second.number, NetworkStatus::NUMBER);
        assert!(read(&mut far).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_message_that_is_waited_for_in_vain_is_not_torn() {
        let (mut near, far) = tokio::io::duplex(1024);
        let mut messages = Messages::of(far);
        let bytes = [encode(&StopK3s { grace_ms: 7 }), encode(&NetworkStatus {})].concat();
        let (last, bytes) = bytes.split_last().unwrap();
        let mut numbers = Vec::new();
        for byte in bytes {
            near.write_all(&[*byte]).await.unwrap();
            if let Some(message) = messages.next().now_or_never() {
                numbers.push(message.unwrap().unwrap().number);
            }
        }
        assert_eq!(numbers, [StopK3s::NUMBER]);
        near.write_all(&[*last]).await.unwrap();
        let message = messages.next().await.unwrap().unwrap();
        assert_eq!(message.number, NetworkStatus::NUMBER);
        near.write_all(&[0, 1]).await.unwrap();
        drop(near);
        let torn = messages.next().await.unwrap_err();
        assert_eq!(torn.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error_and_takes_no_memory() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        near.write_all(&[0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff])
            .await
            .unwrap();
        let error = read(&mut far).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let (mut near, mut far) = tokio::io::duplex(1024);
        near.write_all(&[0, 1, 0, 0, 0, 0, 0, 9, 1]).await.unwrap();
        drop(near);
        let error = read(&mut far).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
