//! The kubeconfig of a cluster, built by the host from typed values.
//!
//! Nothing that a guest says is passed through: certificates and keys are decoded, examined and
//! encoded again, other credentials have a narrow alphabet, and names and the server's address are
//! the host's own. A guest can thus not plant a program to run, a file path or a proxy.

mod certificate;
mod document;
pub mod merge;
mod node;
mod pem;

#[cfg(test)]
pub(crate) mod tests;

use std::{path::Path, time::SystemTime};

use lkc_protocol::message::KubeconfigValues;
use thiserror::Error;

use self::{
    certificate::{Certificate, KeyError, PublicHalf},
    pem::{Block, PemError},
};
use crate::{
    config::ClusterName,
    error::{CommandError, Kind},
    paths::private::{self, PrivateError},
};

/// Longest token, user name or password, in bytes. Tokens of service accounts have about a
/// thousand.
const LONGEST_SECRET: usize = 16 * 1024;

const AUTHORITY: &str = "certificate authority";
const CLIENT: &str = "client certificate";
const KEY: &str = "client key";

/// Why no kubeconfig can be built from what the guest sent.
#[derive(Debug, Error)]
pub enum KubeconfigError {
    /// A value is not the PEM that it should be.
    #[error("the guest's {what} cannot be used")]
    Pem {
        /// Which value.
        what: &'static str,
        /// Why.
        source: PemError,
    },
    /// A value is PEM, but not of a certificate.
    #[error("the guest's {what} is not an X.509 certificate")]
    NotACertificate {
        /// Which value.
        what: &'static str,
    },
    /// What should sign certificates must not.
    #[error("the guest's certificate authority may not sign certificates")]
    NotAnAuthority,
    /// The private key is not one.
    #[error("the guest's client key cannot be used")]
    Key(#[source] KeyError),
    /// The key belongs to another certificate.
    #[error("the guest's client key does not belong to its client certificate")]
    KeyOfAnother,
    /// A pair of values came in half.
    #[error("the guest sent a {present} without a {missing}")]
    Half {
        /// What came.
        present: &'static str,
        /// What did not.
        missing: &'static str,
    },
    /// Nothing to authenticate with.
    #[error("the guest sent no credentials")]
    NoCredentials,
    /// A token, user name or password has characters that it cannot have.
    #[error("the guest's {what} is empty, too long or has characters that no {what} has")]
    Secret {
        /// Which value.
        what: &'static str,
    },
}

impl From<KubeconfigError> for CommandError {
    fn from(error: KubeconfigError) -> Self {
        Self::new(Kind::BadInput, error)
            .hint("look at k3s in the guest: it wrote credentials that no client can use")
    }
}

/// What a cluster's kubeconfig says, examined and sound.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    cluster: ClusterName,
    port: u16,
    identity: ServerIdentity,
    credentials: Credentials,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Entry")
            .field("cluster", &self.cluster)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The certificate authorities that a cluster's API is recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    authorities: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Credentials {
    Certificate { chain: Vec<Vec<u8>>, key: Block },
    Token(String),
    Password { username: String, password: String },
}

impl ServerIdentity {
    /// Examines the certificate authorities that the guest sent.
    pub fn from_values(values: &KubeconfigValues) -> Result<Self, KubeconfigError> {
        let certificates = certificates(AUTHORITY, &values.certificate_authority)?;
        if !certificates.iter().all(Certificate::is_authority) {
            return Err(KubeconfigError::NotAnAuthority);
        }
        Ok(Self {
            authorities: certificates.into_iter().map(|it| it.der).collect(),
        })
    }

    /// The certificates in DER; at least one.
    #[must_use]
    pub fn authorities(&self) -> &[Vec<u8>] {
        &self.authorities
    }
}

impl Entry {
    /// Examines what the guest sent for `cluster`, whose API this host reaches on `port` of its
    /// loopback address. Certificates that are not valid at `now` are warned of, not refused: the
    /// clocks of guest and host may differ.
    pub fn build(
        cluster: &ClusterName,
        port: u16,
        values: &KubeconfigValues,
        now: SystemTime,
    ) -> Result<Self, KubeconfigError> {
        let identity = ServerIdentity::from_values(values)?;
        let mut warnings = Vec::new();
        for authority in &identity.authorities {
            warnings.extend(validity_warning(AUTHORITY, authority, now));
        }
        let credentials = Credentials::from_values(values)?;
        if let Credentials::Certificate { chain, .. } = &credentials {
            warnings.extend(validity_warning(CLIENT, &chain[0], now));
        }
        Ok(Self {
            cluster: cluster.clone(),
            port,
            identity,
            credentials,
            warnings,
        })
    }

    /// The cluster it is for.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// What the cluster's API is recognised by.
    #[must_use]
    pub const fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    /// What may keep it from working, a line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The whole kubeconfig, the same text for the same values.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        document::render(self)
    }

    /// Writes it to `path`, readable by its owner only; a file that already says the same is left
    /// alone. Returns whether it wrote.
    pub fn write(&self, path: &Path) -> Result<bool, PrivateError> {
        private::write_if_changed(path, self.to_yaml().as_bytes(), private::FILE_MODE)
    }
}

/// Removes a kubeconfig that [`Entry::write`] wrote. Returns whether there was one.
pub fn remove(path: &Path) -> Result<bool, PrivateError> {
    private::remove_file(path)
}

impl Credentials {
    /// A certificate if there is one, else a token, else a password.
    fn from_values(values: &KubeconfigValues) -> Result<Self, KubeconfigError> {
        match pair(CLIENT, &values.client_certificate, KEY, &values.client_key)? {
            Some((certificate, key)) => return Self::from_certificate(certificate, key),
            None => {
                if let Some(token) = &values.token {
                    return secret("token", token, is_token_byte).map(Self::Token);
                }
            }
        }
        match pair("user name", &values.username, "password", &values.password)? {
            Some((username, password)) => Ok(Self::Password {
                username: secret("user name", username, is_printable)?,
                password: secret("password", password, is_printable)?,
            }),
            None => Err(KubeconfigError::NoCredentials),
        }
    }

    fn from_certificate(certificate: &str, key: &str) -> Result<Self, KubeconfigError> {
        let chain = certificates(CLIENT, certificate)?;
        let key =
            pem::private_key(key).map_err(|source| KubeconfigError::Pem { what: KEY, source })?;
        let half = PublicHalf::of_private_key(&key).map_err(KubeconfigError::Key)?;
        if !chain[0].may_belong_to(&half) {
            return Err(KubeconfigError::KeyOfAnother);
        }
        Ok(Self::Certificate {
            chain: chain.into_iter().map(|it| it.der).collect(),
            key,
        })
    }
}

/// Both values, or neither.
fn pair<'v>(
    first_name: &'static str,
    first: &'v Option<String>,
    second_name: &'static str,
    second: &'v Option<String>,
) -> Result<Option<(&'v str, &'v str)>, KubeconfigError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(KubeconfigError::Half {
            present: first_name,
            missing: second_name,
        }),
        (None, Some(_)) => Err(KubeconfigError::Half {
            present: second_name,
            missing: first_name,
        }),
    }
}

/// One or more certificates.
fn certificates(what: &'static str, text: &str) -> Result<Vec<Certificate>, KubeconfigError> {
    let blocks = pem::certificates(text).map_err(|source| KubeconfigError::Pem { what, source })?;
    blocks
        .into_iter()
        .map(|der| Certificate::from_der(der).ok_or(KubeconfigError::NotACertificate { what }))
        .collect()
}

fn secret(
    what: &'static str,
    text: &str,
    legal: fn(char) -> bool,
) -> Result<String, KubeconfigError> {
    let sound = !text.is_empty() && text.len() <= LONGEST_SECRET && text.chars().all(legal);
    if sound {
        Ok(text.to_owned())
    } else {
        Err(KubeconfigError::Secret { what })
    }
}

fn is_token_byte(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~+/=:".contains(character)
}

/// Whether nothing of it could act on a terminal or end a line.
fn is_printable(character: char) -> bool {
    character == ' '
        || crate::sanitize::line(character.encode_utf8(&mut [0; 4])).starts_with(character)
}

fn validity_warning(what: &str, der: &[u8], now: SystemTime) -> Option<String> {
    let certificate = Certificate::from_der(der.to_vec())?;
    let state = certificate.invalidity_at(now)?;
    Some(format!(
        "the {what} {state}; if that surprises, compare the clocks of host and guest"
    ))
}
