//! A steward that nobody needs ends; systemd starts another one with the next connection.
//!
//! What it leaves for that one is how the network stood: else the successor would set up anew what a
//! host had confirmed, and take back what one has applied since.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bincode::{Decode, Encode};
use lkc_protocol::{
    codec::{RawMessage, encode},
    message::Body,
};

use super::wire::malformed;
use crate::readiness::NetworkState;

/// How long nobody needs it before it ends: longer than the pauses of an agent that asks several things.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a steward leaves that ends for want of work.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct Left {
    /// How the network stands, as far as anybody was told.
    pub(super) network: Option<NetworkState>,
}

/// It stands in a file, and is said to nobody.
impl Body for Left {
    const NUMBER: u16 = 0xff00;
    const NAME: &'static str = "Left";
}

impl Left {
    /// Writes it down in a directory that does not outlive the boot. Half of it is as good as nothing.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        fs::write(path(directory), encode(self))
    }

    /// Takes it away, so that a steward which does not end by itself leaves nothing. None where
    /// nothing is that can be made sense of.
    pub(super) fn take(directory: &Path) -> Option<Self> {
        let path = path(directory);
        let read = fs::read(&path);
        match read.and_then(|bytes| fs::remove_file(&path).map(|()| bytes)) {
            Ok(bytes) => {
                let left = RawMessage::parse(&bytes.into());
                let left = left.and_then(|left| left.decode()).map_err(malformed);
                left.inspect_err(
                    |error| tracing::warn!(%error, "what the last steward left is not understood"),
                )
                .ok()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "what the last steward left is not to be had");
                None
            }
        }
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Left::take(directory.path()), None);
        let network = Some(NetworkState::Applied {
            summary: "192.100.0.10/24 on k8snet".to_owned(),
        });
        let left = Left { network };
        left.write(directory.path()).unwrap();
        assert_eq!(Left::take(directory.path()), Some(left));
        assert_eq!(Left::take(directory.path()), None);
    }

    #[test]
    fn nonsense_is_nothing_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let whole = encode(&Left { network: None });
        for nonsense in [&b""[..], &whole[..whole.len() - 1], &[0xff; 64]] {
            fs::write(path(directory.path()), nonsense).unwrap();
            assert_eq!(Left::take(directory.path()), None);
            assert!(!path(directory.path()).exists());
        }
    }
}
