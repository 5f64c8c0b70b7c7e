//! A unix socket of this host.

use std::path::Path;

use lkc_protocol::{handover, link::Locality};
use tokio::net::UnixStream;

use super::{ConnectFailure, ConnectedCarrier};

/// Connects to the socket at `path`. Whether an agent under this kernel or somebody's forwarding
/// is behind it shows when the agent's descriptors arrive; only then is it a local carrier.
///
/// # Errors
/// Absent before it is bound and when nobody listens any more.
pub(super) async fn connect(path: &Path) -> Result<ConnectedCarrier, ConnectFailure> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(ConnectFailure::of_socket)?;
    let (stream, expected) = handover::take(stream);
    Ok(ConnectedCarrier {
        stream: Box::new(stream),
        locality: Locality::UnderOneKernel(expected.arrival()),
        expected: Some(expected),
        banners: Vec::new(),
    })
}
