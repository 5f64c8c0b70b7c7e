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

pub(super) fn malformed(error: DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The socket that systemd gives as standard input.
pub(crate) fn socket_of_stdin() -> io::Result<UnixStream> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
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
