//! A unix socket of this host.

use std::{io, path::Path};

use tokio::net::UnixStream;

/// Connects to the socket at `path`.
///
/// # Errors
/// `NotFound` before it is bound, `ConnectionRefused` when nobody listens any more.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}
