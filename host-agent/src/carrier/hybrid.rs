//! AF_VSOCK by way of a virtual machine monitor's unix socket: `CONNECT port`, `OK …`, then bytes.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{ConnectFailure, ConnectedCarrier};

/// How long the monitor may take to answer: a guest under software emulation needs some tens of
/// milliseconds, Firecracker itself gives up after two seconds. But `vhost-device-vsock` ends when
/// a guest answers somebody who is gone, so that one that is very busy is waited for.
const ANSWER_DEADLINE: Duration = Duration::from_secs(8);

/// Longest answer in bytes: `OK`, a number of ten digits and the end of the line fit twice.
const MAX_ANSWER: usize = 32;

/// Connects to `port` of the guest behind the monitor's socket at `path`.
///
/// # Errors
/// Absent when the monitor or the guest's listener is not there, which the monitor tells by an end
/// without an answer.
pub(super) async fn connect(path: &Path, port: u32) -> Result<ConnectedCarrier, ConnectFailure> {
    let mut stream = UnixStream::connect(path)
        .await
        .map_err(ConnectFailure::of_socket)?;
    open(&mut stream, port).await?;
    Ok(ConnectedCarrier::local(stream))
}

/// Asks the monitor at the other end of `stream` for `port`.
pub(super) async fn open(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    port: u32,
) -> Result<(), ConnectFailure> {
    match timeout(ANSWER_DEADLINE, ask(stream, port)).await {
        Ok(answered) => answered,
        Err(_) => Err(ConnectFailure::Silent {
            what: "the virtual machine monitor",
            seconds: ANSWER_DEADLINE.as_secs(),
        }),
    }
}

async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    port: u32,
) -> Result<(), ConnectFailure> {
    let question = format!("CONNECT {port}\n");
    if let Err(error) = stream.write_all(question.as_bytes()).await {
        return Err(ended(error));
    }
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    // Byte by byte: what follows the line is the guest's.
    loop {
        match stream.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) => answer.push(byte),
            Err(error) if answer.is_empty() => return Err(ended(error)),
            Err(_) => return Err(ConnectFailure::answer(&answer)),
        }
        if answer.len() == MAX_ANSWER {
            return Err(ConnectFailure::answer(&answer));
        }
    }
    if is_ok(&answer) {
        Ok(())
    } else {
        Err(ConnectFailure::answer(&answer))
    }
}

/// `OK`, alone or with the host's own port.
fn is_ok(answer: &[u8]) -> bool {
    match answer.strip_suffix(b"\r").unwrap_or(answer) {
        b"OK" => true,
        answer => answer
            .strip_prefix(b"OK ")
            .is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit)),
    }
}

/// An end or a reset in place of an answer: the guest has no listener on that port.
fn ended(error: io::Error) -> ConnectFailure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset => ConnectFailure::Absent(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "nobody listens on that port in the guest",
        )),
        _ => ConnectFailure::System(error),
    }
}

#[cfg(test)]
mod tests;
