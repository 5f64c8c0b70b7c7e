//! The unix socket of a forward: a file of the user's own that nobody else can connect to.
//!
//! What a process before us left behind is replaced. What is alive, or not ours, or no socket, never
//! is. At the end the file goes with the listener, unless somebody has put another one there.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::OFlags,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket},
};
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::listener::BACKLOG;

/// A listener on a unix socket, whose file is removed with it.
#[derive(Debug)]
pub(in super::super) struct SocketListener {
    listener: UnixListener,
    path: PathBuf,
    identity: Identity,
}

/// Device and inode of a file.
type Identity = (u64, u64);

impl SocketListener {
    /// Listens at `path`, whose directory has to be there.
    ///
    /// # Errors
    /// `AddrInUse` when somebody listens there, `AlreadyExists` when something else is there that
    /// we do not replace, or what the system says.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        let identity = identity(path)?;
        // Nobody can connect before it listens, so nobody does with the mode that it was made with.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            path: path.to_owned(),
            identity,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        let (connection, _) = self.listener.accept().await?;
        Ok(connection)
    }
}

impl Drop for SocketListener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // One that cannot be removed is found stale by whoever comes next.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket of ours on which nobody listens any more.
fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let in_the_way = |what: &str| Err(io::Error::new(ErrorKind::AlreadyExists, what.to_owned()));
    if !there.file_type().is_socket() {
        return in_the_way("something is there that is no socket");
    }
    if there.uid() != rustix::process::geteuid().as_raw() {
        return in_the_way("a socket of another user is there");
    }
    if is_alive(path)? {
        return Err(ErrorKind::AddrInUse.into());
    }
    fs::remove_file(path)
}

/// Whether somebody listens there. One whose queue is full does.
fn is_alive(path: &Path) -> io::Result<bool> {
    let ours = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    match connect(&ours, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use super::*;

    fn kind_of(path: &Path) -> ErrorKind {
        SocketListener::bind(path).unwrap_err().kind()
    }

    #[tokio::test]
    async fn the_socket_is_the_users_own_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sock");
        let listener = SocketListener::bind(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (client, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        drop((client.unwrap(), accepted.unwrap()));
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_process_left_is_replaced_and_what_is_alive_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sock");
        let other = StdListener::bind(&path).unwrap();
        assert_eq!(kind_of(&path), ErrorKind::AddrInUse);
        assert!(path.exists());
        drop(other);
        assert!(path.exists(), "a stale socket");
        drop(SocketListener::bind(&path).unwrap());
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_touched() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (
            directory.path().join("notes"),
            directory.path().join("link"),
        );
        fs::write(&file, "mine").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(kind_of(path), ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(kind_of(directory.path()), ErrorKind::AlreadyExists);
        let nowhere = directory.path().join("missing/db.sock");
        assert_eq!(kind_of(&nowhere), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_socket_that_somebody_put_in_its_place_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db.sock");
        let listener = SocketListener::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _successor = StdListener::bind(&path).unwrap();
        drop(listener);
        assert!(path.exists());
    }
}
