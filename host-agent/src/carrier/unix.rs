//! A unix socket of this host.

use std::{io, path::Path};

use lkc_protocol::handover;
use tokio::net::UnixStream;

use super::ConnectedCarrier;

/// Connects to the socket at `path`.
///
/// # Errors
/// `NotFound` before it is bound, `ConnectionRefused` when nobody listens any more.
pub(super) async fn connect(path: &Path) -> io::Result<ConnectedCarrier> {
    let (stream, expected) = handover::take(UnixStream::connect(path).await?);
    Ok(ConnectedCarrier { stream, expected })
}
