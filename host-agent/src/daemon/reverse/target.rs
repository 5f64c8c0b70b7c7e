//! Connecting to what a reverse forward leads to.

use std::{io, path::Path, time::Duration};

use lkc_protocol::{error::RefusalCode, relay};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::{sleep, timeout},
};

use crate::config::HostTarget;

/// Longest time for a connection to be made, name resolution included. The guest waits longer.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Pause before a unix socket whose queue was full is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// A connection to a target.
pub(super) enum Connected {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Why a target was not reached.
#[derive(Debug)]
pub(super) struct Unreached {
    /// What the guest is told; the rest is this host's own business.
    pub(super) code: RefusalCode,
    /// For the people of this host.
    pub(super) why: String,
}

pub(super) async fn connect(target: &HostTarget) -> Result<Connected, Unreached> {
    let connecting = async {
        match target {
            HostTarget::Tcp { host, port } => connect_tcp(host, *port).await.map(Connected::Tcp),
            HostTarget::Unix(path) => connect_unix(path).await.map(Connected::Unix),
        }
    };
    match timeout(CONNECT_DEADLINE, connecting).await {
        Ok(connected) => connected.map_err(|error| unreached(target, &error)),
        Err(_) => Err(Unreached {
            code: RefusalCode::Timeout,
            why: format!(
                "{target} did not answer within {} s",
                CONNECT_DEADLINE.as_secs()
            ),
        }),
    }
}

/// Tries the addresses of a name until one answers.
async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    for address in lookup_host((host, port)).await? {
        match relay::connect(address).await {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => last = Some(error),
            answered => return answered,
        }
    }
    let no_address = || io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    Err(last.unwrap_or_else(no_address))
}

/// Waits as a client that may block would while the socket's queue is full, of whose end nothing
/// tells.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_PAUSE).await,
            connected => return connected,
        }
    }
}

fn unreached(target: &HostTarget, error: &io::Error) -> Unreached {
    let code = match error.kind() {
        io::ErrorKind::TimedOut => RefusalCode::Timeout,
        _ => RefusalCode::Unreachable,
    };
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        _ => error.to_string(),
    };
    let why = format!("{target}: {why}");
    Unreached { code, why }
}
