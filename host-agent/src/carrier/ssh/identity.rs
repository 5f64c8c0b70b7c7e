//! Keys of the user's to log in with, from files.
//!
//! Limit: `ssh-key` does not read a P-256 key whose private half has a leading zero byte, one in 256;
//! such a key, like one of a card, is left to an agent.

mod rsa;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use russh::{
    SendError, Signer,
    keys::{
        Algorithm, HashAlg, PrivateKey, PublicKey, agent::AgentIdentity, decode_secret_key,
        signature, ssh_encoding::Encode, ssh_key::Signature,
    },
};
use thiserror::Error;

use rsa::RsaSigner;

use super::keyring::keyring;

/// Most bytes of a key file. The largest useful one, of 16384 bits of RSA, has 13 KiB.
const MAX_FILE: u64 = 64 * 1024;

/// A key file that is there.
pub(super) struct IdentityFile {
    /// Its path.
    pub(super) file: PathBuf,
    /// Its public half, as far as it can be told without a passphrase.
    pub(super) public: Option<PublicKey>,
    /// Its private half.
    pub(super) secret: Secret,
}

/// The private half of a key file.
pub(super) enum Secret {
    /// Ready to sign.
    Key(Box<PrivateKey>),
    /// The same for RSA, which ring signs: the crate that russh would take leaks its timing.
    Rsa(Box<RsaSigner>),
    /// Under a passphrase.
    Locked,
    /// Elsewhere: only the public half is in the file, or the key is of a kind that is not signed
    /// with here.
    Elsewhere,
}

impl IdentityFile {
    /// Reads `file`. Nothing where neither it nor `file.pub` is there, or where it cannot be read:
    /// the configuration names files of which most never exist.
    pub(super) fn read(file: &Path) -> Option<Self> {
        let beside = || public_of(&suffixed(file, ".pub"));
        let text = match text_of(file) {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::debug!(file = %file.display(), "cannot read a key: {error}");
                }
                return beside().map(|public| Self::new(file, Some(public), Secret::Elsewhere));
            }
        };
        if let Ok(public) = PublicKey::from_openssh(text.trim()) {
            return Some(Self::new(file, Some(public), Secret::Elsewhere));
        }
        Some(Self::of_private(file, &text, beside))
    }

    fn of_private(file: &Path, text: &str, beside: impl Fn() -> Option<PublicKey>) -> Self {
        if let Ok(key) = PrivateKey::from_openssh(text) {
            let public = key.public_key().clone();
            let secret = if key.is_encrypted() {
                keyring()
                    .unlocked(file, Some(&public))
                    .map_or(Secret::Locked, |key| Secret::of((*key).clone()))
            } else {
                Secret::of(key)
            };
            return Self::new(file, Some(public), secret);
        }
        if text.contains("ENCRYPTED") {
            let public = beside();
            return match keyring().unlocked(file, public.as_ref()) {
                Some(key) => {
                    let public = key.public_key().clone();
                    Self::new(file, Some(public), Secret::of((*key).clone()))
                }
                None => Self::new(file, public, Secret::Locked),
            };
        }
        if let Some((signer, public)) = RsaSigner::of_pem(text) {
            return Self::new(file, Some(public), Secret::Rsa(Box::new(signer)));
        }
        match decode_secret_key(text, None) {
            Ok(key) => {
                let public = Some(key.public_key().clone());
                Self::new(file, public, Secret::Key(Box::new(key)))
            }
            Err(_) => Self::new(file, beside(), Secret::Elsewhere),
        }
    }

    fn new(file: &Path, public: Option<PublicKey>, secret: Secret) -> Self {
        Self {
            file: file.to_owned(),
            public,
            secret,
        }
    }
}

impl Secret {
    /// An opened key.
    fn of(key: PrivateKey) -> Self {
        match key.algorithm() {
            Algorithm::Rsa { .. } => match RsaSigner::of_openssh(&key) {
                Some(signer) => Self::Rsa(Box::new(signer)),
                None => Self::Elsewhere,
            },
            Algorithm::Ed25519 | Algorithm::Ecdsa { .. } => Self::Key(Box::new(key)),
            // The key of a token or card: an agent knows how to ask it.
            _ => Self::Elsewhere,
        }
    }
}

/// Why a key that the server would take did not sign.
#[derive(Debug, Error)]
pub(super) enum SignError {
    /// The connection is gone.
    #[error(transparent)]
    Gone(#[from] SendError),
    /// It is under a passphrase.
    #[error("it is under a passphrase")]
    Locked,
    /// Its private half is not in the file, or of a kind that is not signed with here.
    #[error("only an agent can sign with it")]
    Elsewhere,
    /// The cryptography refused.
    #[error("it cannot be signed with")]
    Unusable,
}

impl Signer for &IdentityFile {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let signature = match &self.secret {
            Secret::Locked => return Err(SignError::Locked),
            Secret::Elsewhere => return Err(SignError::Elsewhere),
            Secret::Rsa(signer) => signer.sign(&to_sign, hash),
            Secret::Key(key) => signature::Signer::<Signature>::try_sign(key.as_ref(), &to_sign)
                .ok()
                .and_then(|signature| {
                    let mut encoded = Vec::new();
                    signature.encode(&mut encoded).ok().map(|()| encoded)
                }),
        };
        let signature = signature.ok_or(SignError::Unusable)?;
        signature
            .encode(&mut to_sign)
            .map_err(|_| SignError::Unusable)?;
        Ok(to_sign)
    }
}

fn suffixed(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn public_of(file: &Path) -> Option<PublicKey> {
    PublicKey::from_openssh(text_of(file).ok()?.trim()).ok()
}

pub(super) fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?
        .take(MAX_FILE)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
