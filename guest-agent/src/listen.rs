//! Where hosts come in. One listener per carrier; what it accepts is only a carrier, the
//! handshake decides who is behind it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use lkc_protocol::{
    handover::{self, HandoverCarrier, Offered},
    link::Locality,
};
use nix::unistd::geteuid;
use thiserror::Error;
use tokio::net::UnixListener;

use crate::config::ListenAddress;

/// Why a listener cannot be bound.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another agent answers there.
    #[error("{} is in use by another agent", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is there.
    #[error("{} exists and is no socket: remove it or listen elsewhere", .0.display())]
    NotASocket(PathBuf),
    /// The operating system says no.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket.
    Unix(UnixListener),
}

/// What a listener accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The carrier.
    pub carrier: HandoverCarrier,
    /// What connections are handed over with to a host under the same kernel.
    pub offered: Offered,
    /// Whether only the kernel and the hypervisor stand between its ends.
    pub locality: Locality,
    /// Who connects, for the log.
    pub peer: String,
}

impl Listener {
    /// Binds `address`, replacing a socket that nobody answers on.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn bind(address: &ListenAddress) -> Result<Self, ListenError> {
        let ListenAddress::Unix(path) = address;
        bind_unix(path).map(Self::Unix)
    }

    /// The next carrier. A peer of a foreign user is turned away here already.
    ///
    /// # Errors
    /// What the system says; transient errors among them, so back off and go on.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let Self::Unix(listener) = self;
        loop {
            let (carrier, _) = listener.accept().await?;
            let uid = carrier.peer_cred()?.uid();
            if uid == 0 || uid == geteuid().as_raw() {
                let (carrier, offered) = handover::offer(carrier)?;
                return Ok(Accepted {
                    carrier,
                    offered,
                    locality: Locality::Local,
                    peer: format!("uid {uid}"),
                });
            }
            tracing::warn!(uid, "turned away a peer of another user");
        }
    }
}

fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(ListenError::InUse(path.to_owned()));
        }
        Ok(_) => fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/agent.sock");
        let address = ListenAddress::Unix(path.clone());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            Listener::bind(&address),
            Err(ListenError::InUse(_))
        ));
        drop(listener);
        let listener = Listener::bind(&address).unwrap();
        let (client, accepted) =
            tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
        client.unwrap();
        assert!(matches!(accepted.unwrap().locality, Locality::Local));
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&ListenAddress::Unix(path.clone())).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
