//! A unix socket of mode 0600, for root and the agent's own user.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    path::Path,
};

use lkc_protocol::{handover, link::Locality};
use nix::unistd::geteuid;
use tokio::net::UnixListener;

use super::{Accepted, ListenAddress, ListenError};

#[derive(Debug)]
pub(super) struct Listener(UnixListener);

impl Listener {
    pub(super) fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenAddress::Unix(path.to_owned()).failed()(source);
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
        Ok(Self(listener))
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let (carrier, _) = self.0.accept().await?;
            let uid = carrier.peer_cred()?.uid();
            if uid == 0 || uid == geteuid().as_raw() {
                let (carrier, offered) = handover::offer(carrier)?;
                return Ok(Accepted {
                    carrier: Box::new(carrier),
                    offered: Some(offered),
                    locality: Locality::Local,
                    peer: format!("uid {uid}"),
                });
            }
            tracing::warn!(uid, "turned away a peer of another user");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/agent.sock");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse(_))));
        drop(listener);
        let listener = Listener::bind(&path).unwrap();
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
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket(_)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
