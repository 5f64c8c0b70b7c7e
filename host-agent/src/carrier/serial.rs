//! A virtio-serial port by way of the unix socket that the virtual machine monitor makes for it.
//!
//! The port is one line without connections: what an earlier link left on it may come before the
//! guest's greeting, which the nonce in the preface sorts out. The monitor serves one user at a
//! time; a second one connects and hears nothing.

use std::path::Path;

use tokio::net::UnixStream;

use super::{ConnectFailure, ConnectedCarrier};

/// Connects to the monitor's socket at `path`.
///
/// # Errors
/// Absent while no machine runs.
pub(super) async fn connect(path: &Path) -> Result<ConnectedCarrier, ConnectFailure> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(ConnectFailure::of_socket)?;
    Ok(ConnectedCarrier::remote(stream))
}
