//! How the bytes of a link travel: one reliable ordered byte stream to the guest.

mod unix;

use std::{fmt, io, path::PathBuf, str::FromStr};

use lkc_protocol::handover::{Expected, HandoverCarrier};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where the other end of a carrier is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Carrier {
    /// A unix socket of this host.
    Unix(PathBuf),
}

/// The bytes of a connected carrier.
pub type CarrierStream = HandoverCarrier;

/// A connected carrier.
#[derive(Debug)]
pub struct ConnectedCarrier {
    /// Its bytes.
    pub stream: CarrierStream,
    /// Where a guest under the same kernel puts what it hands connections over with.
    pub expected: Expected,
}

/// Why there is no carrier.
#[derive(Debug, Error)]
#[error("cannot connect to {carrier}")]
pub struct CarrierError {
    /// Where to.
    pub carrier: Carrier,
    /// What the system said.
    pub source: io::Error,
}

impl CarrierError {
    /// Whether nobody listens there, which is how it is until the agent has started.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }
}

impl Carrier {
    /// Connects. Returns at once where only the kernel stands between the ends; the caller's
    /// deadline bounds it elsewhere.
    ///
    /// # Errors
    /// What the system said, with the place.
    pub async fn connect(&self) -> Result<ConnectedCarrier, CarrierError> {
        let connected = match self {
            Self::Unix(path) => unix::connect(path).await,
        };
        connected.map_err(|source| CarrierError {
            carrier: self.clone(),
            source,
        })
    }

    /// Whether only the kernel or the hypervisor stands between the ends, so that an authenticated
    /// link may go on unencrypted.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
        }
    }
}

/// A text that names no carrier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CarrierParseError {
    /// It has no scheme or one that is not known.
    #[error("`{0}` is no carrier: write unix:/path/to/agent.sock")]
    Scheme(String),
    /// The path is not absolute.
    #[error("`{0}` has no absolute path")]
    Path(String),
}

impl FromStr for Carrier {
    type Err = CarrierParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text
            .strip_prefix("unix:")
            .ok_or_else(|| CarrierParseError::Scheme(text.to_owned()))?;
        if !path.starts_with('/') {
            return Err(CarrierParseError::Path(text.to_owned()));
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }
}

impl TryFrom<String> for Carrier {
    type Error = CarrierParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Carrier> for String {
    fn from(carrier: Carrier) -> Self {
        carrier.to_string()
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_survive_being_written_and_read() {
        let carrier: Carrier = "unix:/run/lkc/agent.sock".parse().unwrap();
        assert_eq!(carrier, Carrier::Unix("/run/lkc/agent.sock".into()));
        assert_eq!(carrier.to_string(), "unix:/run/lkc/agent.sock");
    }

    #[test]
    fn other_texts_are_refused() {
        for (text, message) in [
            (
                "/run/agent.sock",
                "`/run/agent.sock` is no carrier: write unix:/path/to/agent.sock",
            ),
            ("unix:agent.sock", "`unix:agent.sock` has no absolute path"),
            ("", "`` is no carrier: write unix:/path/to/agent.sock"),
        ] {
            let error = text.parse::<Carrier>().unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_yet_is_absent_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let error = Carrier::Unix(path.clone()).connect().await.unwrap_err();
        assert!(error.is_absent());
        assert_eq!(
            error.to_string(),
            format!("cannot connect to unix:{}", path.display())
        );
    }
}
