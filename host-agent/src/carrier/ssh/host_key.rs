//! Whether the host that answers is the one that is meant.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ring::rand::{SecureRandom, SystemRandom};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, ssh_key};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    known_hosts::{CHECKED_TYPES, KnownKeys, Place, Verdict, hashed},
    settings::Settings,
};

/// Most bytes of a file with host keys that are read.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// A host key: public, compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostKey {
    key: PublicKey,
    wire: Vec<u8>,
}

/// A text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no public key: write TYPE BASE64, as in the host's /etc/ssh/ssh_host_ed25519_key.pub"
)]
pub struct HostKeyParseError(String);

impl HostKey {
    /// `SHA256:…`, as every program of OpenSSH shows it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.key.fingerprint(HashAlg::Sha256).to_string()
    }

    fn key_type(&self) -> String {
        self.key.algorithm().to_string()
    }
}

impl TryFrom<PublicKey> for HostKey {
    type Error = ssh_key::Error;

    fn try_from(key: PublicKey) -> Result<Self, Self::Error> {
        let wire = key.to_bytes()?;
        Ok(Self { key, wire })
    }
}

impl TryFrom<String> for HostKey {
    type Error = HostKeyParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.to_string()
    }
}

impl std::str::FromStr for HostKey {
    type Err = HostKeyParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PublicKey::from_openssh(text.trim())
            .and_then(Self::try_from)
            .map_err(|_| HostKeyParseError(crate::sanitize::line(text)))
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.key.to_openssh().map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

/// What makes a host the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostKeyPolicy {
    /// The user's files of OpenSSH, and lkc's own beside them.
    Known {
        /// lkc's own file.
        own: Option<PathBuf>,
        /// Whether a host that no file has is taken as it is and put into lkc's own file.
        accept_new: bool,
    },
    /// These keys and no other, whatever the files say: those of a machine that lkc made.
    Pinned(Vec<HostKey>),
}

/// Why a host is not taken for the one that is meant.
#[derive(Debug, Error)]
pub enum HostKeyError {
    /// It has another key than the one that is filed.
    #[error("its host key has changed: it shows {shown}, and {place} has {filed}")]
    Changed {
        /// The fingerprint of the key that it shows.
        shown: String,
        /// The fingerprint of the key that is filed.
        filed: String,
        /// Where.
        place: Place,
    },
    /// It has another key than the one that lkc gave its machine.
    #[error("its host key is not its machine's: it shows {shown}, and the machine was made with {}", pinned.join(", "))]
    NotPinned {
        /// The fingerprint of the key that it shows.
        shown: String,
        /// The fingerprints of those that it may show.
        pinned: Vec<String>,
    },
    /// Nobody knows it.
    #[error("its host key is not known: it shows {shown}, and no file has {name}")]
    Unknown {
        /// The fingerprint of the key that it shows.
        shown: String,
        /// What the key would be filed under.
        name: String,
    },
    /// Its key is marked as lost to others.
    #[error("its host key {shown} is revoked by {place}")]
    Revoked {
        /// The fingerprint of the key that it shows.
        shown: String,
        /// Where.
        place: Place,
    },
    /// Only keys of a type that cannot be checked here are filed.
    #[error(
        "its host key cannot be compared: it shows {shown}, and {place} has only its {key_type} key, a type that lkc does not check"
    )]
    OnlyType {
        /// The fingerprint of the key that it shows.
        shown: String,
        /// The type that is filed.
        key_type: String,
        /// Where.
        place: Place,
    },
    /// It is known by an authority only.
    #[error(
        "its host key cannot be compared: {place} wants a certificate, which lkc does not check"
    )]
    OnlyAuthority {
        /// Where.
        place: Place,
    },
    /// It showed a certificate, which nobody asked for.
    #[error("it shows a host certificate, which lkc does not check")]
    Certificate,
    /// A file with host keys.
    #[error("cannot read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// lkc's own file.
    #[error("cannot add its host key to {}", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl HostKeyError {
    /// What the user can do about it, for the host written as `written` and filed as `name`.
    pub(super) fn hints(&self, written: &str) -> Vec<String> {
        match self {
            Self::Changed { place, .. } => vec![
                "somebody may be listening in: ask who runs the host whether it has a new key"
                    .to_owned(),
                format!(
                    "if it has, remove line {} of {}",
                    place.line,
                    place.file.display()
                ),
            ],
            Self::NotPinned { .. } => vec![
                "look whether something else answers in the machine's place".to_owned(),
            ],
            Self::Unknown { .. } | Self::OnlyType { .. } | Self::OnlyAuthority { .. } => vec![
                format!(
                    "compare the fingerprint on the host (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then `ssh -o HostKeyAlgorithms=ssh-ed25519 {written}` and answer yes"
                ),
                "or let lkc take it as it is, and keep it: `--accept-new`, or `accept-new = true` in `[cluster.NAME.ssh]`".to_owned(),
            ],
            Self::Revoked { .. } => vec!["give the host a new key".to_owned()],
            Self::Certificate | Self::Read { .. } | Self::Write { .. } => Vec::new(),
        }
    }
}

/// What is known about one host before it answers.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    policy: HostKeyPolicy,
    known: KnownKeys,
    name: String,
}

impl Expected {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// A file that is there and cannot be read: to pass over it could make a changed key an
    /// unknown one.
    pub(super) fn read(settings: &Settings, policy: &HostKeyPolicy) -> Result<Self, HostKeyError> {
        let name = settings.key_name();
        let mut known = KnownKeys::default();
        if let HostKeyPolicy::Known { own, .. } = policy {
            for file in own.iter().chain(&settings.known_hosts) {
                if let Some(text) = text_of(file)? {
                    known.read(&text, file, &name);
                }
            }
        }
        Ok(Self {
            policy: policy.clone(),
            known,
            name,
        })
    }

    /// The algorithms to ask the host for: those of the keys that are filed first, so that a host
    /// with several keys shows the one that can be compared.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let is_wanted = |algorithm: &Algorithm| match &self.policy {
            HostKeyPolicy::Known { .. } => self.known.has_type(algorithm.as_str()),
            HostKeyPolicy::Pinned(keys) => keys.iter().any(|key| key.key.algorithm() == *algorithm),
        };
        let mut algorithms = checked_algorithms();
        algorithms.sort_by_key(|algorithm| !is_wanted(algorithm));
        algorithms
    }

    /// Whether `shown` is the host's key. Under `accept_new` an unknown one becomes it.
    ///
    /// # Errors
    /// See [`HostKeyError`].
    pub(super) fn check(&self, shown: &HostKey) -> Result<(), HostKeyError> {
        let (own, accept_new) = match &self.policy {
            HostKeyPolicy::Pinned(keys) if keys.contains(shown) => return Ok(()),
            HostKeyPolicy::Pinned(keys) => {
                return Err(HostKeyError::NotPinned {
                    shown: shown.fingerprint(),
                    pinned: keys.iter().map(HostKey::fingerprint).collect(),
                });
            }
            HostKeyPolicy::Known { own, accept_new } => (own, *accept_new),
        };
        let fingerprint = shown.fingerprint();
        match (self.known.verdict(&shown.wire), own) {
            (Verdict::Known, _) => Ok(()),
            (Verdict::Unknown, Some(own)) if accept_new => {
                tracing::info!(host = %self.name, key = %fingerprint, file = %own.display(), "new host key");
                append(own, &self.name, shown).map_err(|source| HostKeyError::Write {
                    file: own.clone(),
                    source,
                })
            }
            (Verdict::Unknown, _) => Err(HostKeyError::Unknown {
                shown: fingerprint,
                name: self.name.clone(),
            }),
            (Verdict::Revoked(place), _) => Err(HostKeyError::Revoked {
                shown: fingerprint,
                place,
            }),
            (Verdict::Changed { key, place }, _) => Err(HostKeyError::Changed {
                shown: fingerprint,
                filed: PublicKey::from_bytes(&key).map_or_else(
                    |_| "a key that cannot be read".to_owned(),
                    |key| key.fingerprint(HashAlg::Sha256).to_string(),
                ),
                place,
            }),
            (Verdict::OnlyType { key_type, place }, _) => Err(HostKeyError::OnlyType {
                shown: fingerprint,
                key_type,
                place,
            }),
            (Verdict::OnlyAuthority(place), _) => Err(HostKeyError::OnlyAuthority { place }),
        }
    }
}

/// The algorithms whose signatures can be checked here, most wanted first.
fn checked_algorithms() -> Vec<Algorithm> {
    let algorithms = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP521,
        },
    ];
    debug_assert!(algorithms.iter().map(Algorithm::as_str).eq(CHECKED_TYPES));
    algorithms
}

/// The text of a file with host keys; nothing where there is none.
fn text_of(file: &Path) -> Result<Option<String>, HostKeyError> {
    let read = || -> io::Result<String> {
        let mut bytes = Vec::new();
        fs::File::open(file)?
            .take(MAX_FILE)
            .read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HostKeyError::Read {
            file: file.to_owned(),
            source,
        }),
    }
}

/// Adds a line to lkc's own file, with the host's name hashed.
fn append(file: &Path, name: &str, key: &HostKey) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    let mut salt = [0; 20];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let encoded = key.to_string();
    let entry = format!("{} {encoded}\n", hashed(name, &salt));
    tracing::debug!(key_type = key.key_type(), "one line for a new host key");
    // One write, so that two daemons cannot mix their lines.
    fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file)?
        .write_all(entry.as_bytes())
}

#[cfg(test)]
mod tests;
