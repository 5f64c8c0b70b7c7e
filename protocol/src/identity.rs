//! Key pairs and the public keys that the ends pin.

use std::{fmt, str::FromStr};

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// DER in front of the 32 bytes of an Ed25519 key in a `SubjectPublicKeyInfo` (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// DER in front of the 32 bytes of an Ed25519 seed in a PKCS #8 document (RFC 8410 §7).
const SEED_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why text is not an identity or a public key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not a PEM block of a PKCS #8 private key.
    #[error("not a PEM private key: {0}")]
    NotPem(String),
    /// A key, but not a usable Ed25519 one.
    #[error("not an Ed25519 private key: {0}")]
    NotEd25519(String),
    /// Not `ed25519:` and 32 bytes of base64.
    #[error("not a public key of the form `ed25519:BASE64`")]
    NotPublicKey,
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

/// An Ed25519 key pair. Its secret appears in no `Debug` output.
pub struct Identity {
    pkcs8: PrivatePkcs8KeyDer<'static>,
    public_key: PublicKey,
}

impl Identity {
    /// Makes a new one.
    ///
    /// # Errors
    /// `NoRandomness`.
    pub fn generate() -> Result<Self, IdentityError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| IdentityError::NoRandomness)?;
        Self::from_pkcs8(PrivatePkcs8KeyDer::from(document.as_ref().to_vec()))
    }

    /// Reads a PKCS #8 private key in PEM.
    ///
    /// # Errors
    /// `NotPem` or `NotEd25519`.
    pub fn from_pem(pem: &str) -> Result<Self, IdentityError> {
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| IdentityError::NotPem(error.to_string()))?;
        Self::from_pkcs8(pkcs8)
    }

    /// The key pair that belongs to a seed of 32 bytes.
    pub(crate) fn from_seed(seed: &[u8]) -> Result<Self, IdentityError> {
        let pkcs8 = [&SEED_PREFIX, seed].concat();
        Self::from_pkcs8(PrivatePkcs8KeyDer::from(pkcs8))
    }

    fn from_pkcs8(pkcs8: PrivatePkcs8KeyDer<'static>) -> Result<Self, IdentityError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8.secret_pkcs8_der())
            .map_err(|error| IdentityError::NotEd25519(error.to_string()))?;
        let public_key = pair
            .public_key()
            .as_ref()
            .try_into()
            .map(PublicKey)
            .map_err(|_| IdentityError::NotEd25519("its public key is not 32 bytes".to_owned()))?;
        Ok(Self { pkcs8, public_key })
    }

    /// The secret in PEM, for a file of mode 0600.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let text = BASE64_STANDARD.encode(self.pkcs8.secret_pkcs8_der());
        let mut pem = format!("{PEM_BEGIN}\n");
        for (index, character) in text.chars().enumerate() {
            if index > 0 && index % 64 == 0 {
                pem.push('\n');
            }
            pem.push(character);
        }
        pem.push_str(&format!("\n{PEM_END}\n"));
        pem
    }

    /// The half that the other end pins.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    pub(crate) fn pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        self.pkcs8.clone_key()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Identity")
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// The public half of an [`Identity`]. As text: `ed25519:` and 32 bytes of base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// What people compare: `SHA256:` and the base64 of the digest over the DER form.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = digest::digest(&digest::SHA256, &self.to_spki());
        let text = BASE64_STANDARD.encode(digest);
        format!("SHA256:{}", text.trim_end_matches('='))
    }

    /// Its 32 bytes (RFC 8032).
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// The key of 32 bytes. Bytes that are no point of the curve are a key that nobody can use.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key as a DER `SubjectPublicKeyInfo`, the form of a raw public key (RFC 7250).
    #[must_use]
    pub fn to_spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// Reads the DER form; none for anything that is not an Ed25519 key.
    #[must_use]
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        let key = der.strip_prefix(&SPKI_PREFIX)?;
        key.try_into().ok().map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ed25519:{}", BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = IdentityError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl FromStr for PublicKey {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text
            .trim()
            .strip_prefix("ed25519:")
            .ok_or(IdentityError::NotPublicKey)?;
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| IdentityError::NotPublicKey)?;
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| IdentityError::NotPublicKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_being_written_and_read() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_pem(&identity.to_pem()).unwrap();
        assert_eq!(again.public_key(), identity.public_key());
        let text = identity.public_key().to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), identity.public_key());
        assert_eq!(
            PublicKey::from_spki(&identity.public_key().to_spki()),
            Some(identity.public_key())
        );
    }

    #[test]
    fn a_secret_is_not_in_the_debug_output() {
        let identity = Identity::generate().unwrap();
        let pem = identity.to_pem();
        let secret = pem.lines().nth(1).unwrap();
        assert!(!format!("{identity:?}").contains(&secret[..32]));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(
            Identity::from_pem("hello"),
            Err(IdentityError::NotPem(_))
        ));
        let other = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        assert!(matches!(
            Identity::from_pem(other),
            Err(IdentityError::NotEd25519(_))
        ));
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA", "ed25519:@@"] {
            assert_eq!(
                text.parse::<PublicKey>(),
                Err(IdentityError::NotPublicKey),
                "{text}"
            );
        }
    }
}
