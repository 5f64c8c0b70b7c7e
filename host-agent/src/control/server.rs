//! The daemon's end of the control socket.
//!
//! Only the user whose daemon it is, and root, get an answer. A client says one line and is told
//! until the end of what it asked; when it goes away, only the telling ends.

mod conversation;
mod exec;
mod follow;
mod judge;
mod logs;
mod objects;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    daemon::Handle,
    error::{CommandError, Kind},
    paths::{
        Paths,
        private::{self, FILE_MODE},
    },
};
use conversation::Conversation;

/// Clients at once. Each is a descriptor and a few kilobytes.
const MAX_CLIENTS: usize = 256;

/// Pause after accept(2) failed, as when file descriptors run out: nothing tells when there are
/// some again.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// How long clients may take to be told that the daemon ends.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(1);

/// A control socket that is bound.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
}

impl Server {
    /// Binds the control socket. Whoever holds the daemon's lock owns the path, so a socket that is
    /// there is a dead one's.
    ///
    /// # Errors
    /// `HostIo`: the directory is not private, or the socket cannot be bound.
    pub fn bind(paths: &Paths) -> Result<Self, CommandError> {
        private::private_dir(paths.runtime_dir(), paths.uid())?;
        let path = paths.control_socket();
        let listener = bind(&path).map_err(|source| {
            CommandError::new(
                Kind::HostIo,
                format!("cannot listen on {}: {source}", path.display()),
            )
        })?;
        let uid = paths.uid();
        Ok(Self {
            listener,
            path,
            uid,
        })
    }

    /// Serves clients until `stop` is cancelled, and then removes the socket: the caller still holds
    /// the daemon's lock, so the path is still ours.
    pub async fn serve(self, handle: Handle, stop: &CancellationToken) {
        let clients = TaskTracker::new();
        let accepting = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        if clients.len() < MAX_CLIENTS && is_allowed(&stream, self.uid) {
                            let conversation = Conversation::new(stream, handle.clone());
                            let stop = stop.clone();
                            clients.spawn(conversation.hold(stop));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept clients");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "cannot remove the control socket");
        }
        clients.close();
        let _ = tokio::time::timeout(GOODBYE, clients.wait()).await;
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Nobody else can reach it before that: its directory is private.
    fs::set_permissions(path, fs::Permissions::from_mode(FILE_MODE))?;
    Ok(listener)
}

fn is_allowed(stream: &UnixStream, uid: u32) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == uid || peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "a client of another user was turned away");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "a client of nobody was turned away");
            false
        }
    }
}
