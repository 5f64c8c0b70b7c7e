//! AF_VSOCK, for the host alone.
//!
//! Every process of the guest, pods among them, can connect to the port, and every process of the
//! host: the context id keeps the former out, the keys the latter.

use std::{future::pending, io};

use lkc_protocol::link::{Locality, Whole};
use nix::errno::Errno;
use tokio_vsock::{VMADDR_CID_ANY, VMADDR_CID_HOST, VsockAddr, VsockListener};

use super::Accepted;

/// Bytes of one write, at most. Several userspace devices lose what a guest writes in pieces of
/// more than 32 KiB, and a guest cannot know which device it has.
const WRITE_SIZE: usize = 16 * 1024;

/// None where the kernel has no AF_VSOCK: an image listens for what any of its machines may have.
#[derive(Debug)]
pub(super) struct Listener(Option<VsockListener>);

impl Listener {
    pub(super) fn bind(port: u32) -> io::Result<Self> {
        match VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, port)) {
            Ok(listener) => Ok(Self(Some(listener))),
            Err(error) if error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) => {
                tracing::warn!(port, "this kernel has no AF_VSOCK; nobody listens there");
                Ok(Self(None))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        let Some(listener) = &self.0 else {
            return pending().await;
        };
        loop {
            let (stream, peer) = listener.accept().await?;
            if is_host(peer.cid()) {
                return Ok(Accepted::without_descriptors(
                    Whole::new(stream, WRITE_SIZE),
                    Locality::Local,
                    "the host, by vsock",
                ));
            }
            // Any pod can cause it, so that it is no warning.
            tracing::debug!(
                cid = peer.cid(),
                "turned away a vsock peer that is not the host"
            );
        }
    }
}

/// Whether a peer with this context id is the host. Nobody else is, the guest itself least of all.
const fn is_host(cid: u32) -> bool {
    cid == VMADDR_CID_HOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_is_the_host() {
        assert!(is_host(2));
        for cid in [0, 1, 3, 52, u32::MAX] {
            assert!(!is_host(cid), "{cid}");
        }
    }
}
