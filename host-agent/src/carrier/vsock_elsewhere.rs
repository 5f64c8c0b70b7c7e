//! AF_VSOCK on a system whose hosts have none: it says so.

use std::future::{Ready, ready};

use super::{ConnectFailure, ConnectedCarrier};

pub(super) fn connect(_cid: u32, _port: u32) -> Ready<Result<ConnectedCarrier, ConnectFailure>> {
    ready(Err(ConnectFailure::Unsupported(
        "a host without Linux has no AF_VSOCK: use the machine's unix socket (unix:, hybrid:) or ssh:",
    )))
}
