//! AF_VSOCK to a guest of this host.
//!
//! The kernel gives up by itself after two seconds. Half-close is not relied on, as in every link;
//! a paused machine looks alive until the link's pings go unanswered.

use std::io;

use lkc_protocol::link::Whole;
use nix::errno::Errno;
use tokio_vsock::{VsockAddr, VsockStream};

use super::{ConnectFailure, ConnectedCarrier};

/// Bytes of one write. The kernel splits them as its device wants.
const WRITE_SIZE: usize = 64 * 1024;

/// Connects to `port` of the guest `cid`.
///
/// # Errors
/// Absent when there is no such guest or nobody listens in it; unsupported where this kernel has
/// no AF_VSOCK.
pub(super) async fn connect(cid: u32, port: u32) -> Result<ConnectedCarrier, ConnectFailure> {
    let stream = VsockStream::connect(VsockAddr::new(cid, port))
        .await
        .map_err(failure)?;
    Ok(ConnectedCarrier::local(Whole::new(stream, WRITE_SIZE)))
}

fn failure(source: io::Error) -> ConnectFailure {
    match source.raw_os_error().map(Errno::from_raw) {
        // No listener; no such guest; none that answers yet.
        Some(Errno::ECONNRESET | Errno::ENODEV | Errno::ETIMEDOUT) => {
            ConnectFailure::Absent(source)
        }
        Some(Errno::EAFNOSUPPORT) => ConnectFailure::Unsupported(
            "this kernel has no AF_VSOCK: load it with `sudo modprobe vhost_vsock`",
        ),
        _ => ConnectFailure::of_socket(source),
    }
}
