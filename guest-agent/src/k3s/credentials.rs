//! The credentials in the kubeconfig that k3s writes.
//!
//! The file is taken apart into typed values; nothing of its text goes further. Only inline data
//! counts: a reference to a program, a file or a proxy is an error that names the field.

use std::io::Read;
use std::path::Path;

use lkc_protocol::message::KubeconfigValues;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::encoding::{EncodingError, PemBlock, decode_base64, decode_pem, encode_pem};

/// Bytes of a kubeconfig; k3s' own has 3 KiB.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// Bytes of one value; a chain of certificates has a few KiB.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Nodes of the YAML; k3s' own has 40.
const MAX_YAML_NODES: usize = 2000;

/// Why there are no credentials.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// Cannot be read.
    #[error("cannot read the kubeconfig of k3s")]
    Read(#[source] std::io::Error),
    /// Longer than any kubeconfig.
    #[error("the kubeconfig of k3s has more than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// Not text.
    #[error("the kubeconfig of k3s is not UTF-8")]
    NotText,
    /// Not the YAML of a kubeconfig.
    #[error("the kubeconfig of k3s is no kubeconfig: {problem}")]
    Yaml {
        /// What the reader says, one line.
        problem: String,
    },
    /// Something is not there.
    #[error("the kubeconfig of k3s has no {field}")]
    Missing {
        /// What.
        field: &'static str,
    },
    /// Something is there that leads elsewhere.
    #[error("the kubeconfig of k3s has {field}, only values in the file itself are used")]
    Refused {
        /// What.
        field: &'static str,
    },
    /// A value is longer than any such value.
    #[error("{field} in the kubeconfig of k3s has more than {MAX_VALUE_BYTES} bytes")]
    ValueTooLarge {
        /// Which.
        field: &'static str,
    },
    /// A value is not encoded as it should be.
    #[error("{field} in the kubeconfig of k3s cannot be used")]
    Encoding {
        /// Which.
        field: &'static str,
        /// Why.
        #[source]
        source: EncodingError,
    },
    /// The server's address is not one.
    #[error("cluster.server in the kubeconfig of k3s is not an https URL with a port")]
    Server,
    /// Text with control characters or the like.
    #[error("{field} in the kubeconfig of k3s has characters that it cannot have")]
    Characters {
        /// Which.
        field: &'static str,
    },
}

/// Reads a kubeconfig file.
///
/// # Errors
/// When it cannot be read, is too long, or has not what is needed.
pub fn read(path: &Path) -> Result<KubeconfigValues, CredentialsError> {
    parse(&read_bounded(path)?)
}

/// The bytes of the file, at most [`MAX_FILE_BYTES`].
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let file = std::fs::File::open(path).map_err(CredentialsError::Read)?;
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(CredentialsError::Read)?;
    if bytes.len() > MAX_FILE_BYTES {
        Err(CredentialsError::TooLarge)
    } else {
        Ok(bytes)
    }
}

/// Takes a kubeconfig apart.
///
/// # Errors
/// When it is too long, not a kubeconfig, or has not what is needed.
pub fn parse(bytes: &[u8]) -> Result<KubeconfigValues, CredentialsError> {
    if bytes.len() > MAX_FILE_BYTES {
        return Err(CredentialsError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CredentialsError::NotText)?;
    let document: Document =
        serde_saphyr::from_str_with_options(text, yaml_limits()).map_err(|error| {
            CredentialsError::Yaml {
                problem: first_line(&error.to_string()),
            }
        })?;
    let (cluster, user) = document.chosen()?;
    cluster.refuse_references()?;
    user.refuse_references()?;
    let server = cluster.server.as_deref().ok_or(CredentialsError::Missing {
        field: "cluster.server",
    })?;
    let (client_certificate, client_key) = user.key_pair()?;
    let values = KubeconfigValues {
        api_port: port_of(server)?,
        certificate_authority: certificates(
            "certificate-authority-data",
            cluster.certificate_authority_data.as_deref(),
        )?
        .ok_or(CredentialsError::Missing {
            field: "certificate-authority-data",
        })?,
        client_certificate,
        client_key,
        token: plain("token", user.token)?,
        username: plain("username", user.username)?,
        password: plain("password", user.password)?,
    };
    if values.client_certificate.is_none() && values.token.is_none() && values.password.is_none() {
        return Err(CredentialsError::Missing {
            field: "client-certificate-data, token or password to log in with",
        });
    }
    if values.password.is_some() != values.username.is_some() {
        return Err(CredentialsError::Missing {
            field: "username and password together",
        });
    }
    Ok(values)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Document {
    current_context: Option<String>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: Option<String>,
    certificate_authority_data: Option<String>,
    certificate_authority: Option<IgnoredAny>,
    proxy_url: Option<IgnoredAny>,
    insecure_skip_tls_verify: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    username: Option<String>,
    password: Option<String>,
    client_certificate: Option<IgnoredAny>,
    client_key: Option<IgnoredAny>,
    #[serde(rename = "tokenFile")]
    token_file: Option<IgnoredAny>,
    exec: Option<IgnoredAny>,
    auth_provider: Option<IgnoredAny>,
}

impl Document {
    /// The cluster and the user of the current context, or the only ones when there is none.
    fn chosen(self) -> Result<(Cluster, User), CredentialsError> {
        let current = self.current_context.unwrap_or_default();
        let context = self
            .contexts
            .into_iter()
            .find(|named| named.name == current);
        let (cluster, user) = match context {
            Some(NamedContext { context, .. }) => (
                self.clusters
                    .into_iter()
                    .find(|named| named.name == context.cluster),
                self.users
                    .into_iter()
                    .find(|named| named.name == context.user),
            ),
            None => (only(self.clusters), only(self.users)),
        };
        let cluster = cluster.ok_or(CredentialsError::Missing { field: "cluster" })?;
        let user = user.ok_or(CredentialsError::Missing { field: "user" })?;
        Ok((cluster.cluster, user.user))
    }
}

impl Cluster {
    fn refuse_references(&self) -> Result<(), CredentialsError> {
        refuse(&[
            (
                self.certificate_authority.is_some(),
                "certificate-authority",
            ),
            (self.proxy_url.is_some(), "proxy-url"),
            (
                self.insecure_skip_tls_verify == Some(true),
                "insecure-skip-tls-verify",
            ),
        ])
    }
}

impl User {
    fn refuse_references(&self) -> Result<(), CredentialsError> {
        refuse(&[
            (self.exec.is_some(), "exec"),
            (self.auth_provider.is_some(), "auth-provider"),
            (self.client_certificate.is_some(), "client-certificate"),
            (self.client_key.is_some(), "client-key"),
            (self.token_file.is_some(), "tokenFile"),
        ])
    }

    fn key_pair(&self) -> Result<(Option<String>, Option<String>), CredentialsError> {
        let certificate = certificates(
            "client-certificate-data",
            self.client_certificate_data.as_deref(),
        )?;
        let key = private_key("client-key-data", self.client_key_data.as_deref())?;
        match (&certificate, &key) {
            (Some(_), None) => Err(CredentialsError::Missing {
                field: "client-key-data",
            }),
            (None, Some(_)) => Err(CredentialsError::Missing {
                field: "client-certificate-data",
            }),
            _ => Ok((certificate, key)),
        }
    }
}

fn only<T>(entries: Vec<T>) -> Option<T> {
    let mut entries = entries.into_iter();
    entries.next().filter(|_| entries.next().is_none())
}

fn refuse(fields: &[(bool, &'static str)]) -> Result<(), CredentialsError> {
    match fields.iter().find(|(present, _)| *present) {
        Some((_, field)) => Err(CredentialsError::Refused { field }),
        None => Ok(()),
    }
}

fn certificates(
    field: &'static str,
    data: Option<&str>,
) -> Result<Option<String>, CredentialsError> {
    pem(field, data, "CERTIFICATE", |label| label == "CERTIFICATE")
}

fn private_key(
    field: &'static str,
    data: Option<&str>,
) -> Result<Option<String>, CredentialsError> {
    pem(field, data, "PRIVATE KEY", |label| {
        matches!(label, "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY")
    })
}

fn pem(
    field: &'static str,
    data: Option<&str>,
    expected: &'static str,
    fits: impl Fn(&str) -> bool,
) -> Result<Option<String>, CredentialsError> {
    let Some(data) = data.filter(|data| !data.is_empty()) else {
        return Ok(None);
    };
    let encoding = |source| CredentialsError::Encoding { field, source };
    let bytes = decode_base64(data).map_err(encoding)?;
    if bytes.len() > MAX_VALUE_BYTES {
        return Err(CredentialsError::ValueTooLarge { field });
    }
    let text = String::from_utf8(bytes).map_err(|_| encoding(EncodingError::NotText))?;
    let blocks = decode_pem(&text).map_err(encoding)?;
    // OpenSSL writes the parameters of a curve before the key; nobody needs them.
    let blocks: Vec<PemBlock> = blocks
        .into_iter()
        .filter(|block| block.label != "EC PARAMETERS")
        .collect();
    if blocks.is_empty() || !blocks.iter().all(|block| fits(&block.label)) {
        return Err(encoding(EncodingError::Label { expected }));
    }
    Ok(Some(encode_pem(&blocks)))
}

fn plain(field: &'static str, value: Option<String>) -> Result<Option<String>, CredentialsError> {
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    if value.len() > MAX_VALUE_BYTES {
        return Err(CredentialsError::ValueTooLarge { field });
    }
    if !value.chars().all(|character| character.is_ascii_graphic()) {
        return Err(CredentialsError::Characters { field });
    }
    Ok(Some(value))
}

/// The port of `https://host:port`. The host is not used: the API is always dialled on loopback.
fn port_of(server: &str) -> Result<u16, CredentialsError> {
    let authority = server
        .strip_prefix("https://")
        .ok_or(CredentialsError::Server)?;
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let port = match authority.rsplit_once(']') {
        Some((_, after_v6)) => after_v6.strip_prefix(':'),
        None => authority.rsplit_once(':').map(|(_, port)| port),
    };
    match port.ok_or(CredentialsError::Server)?.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(CredentialsError::Server),
    }
}

fn yaml_limits() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_nodes: MAX_YAML_NODES,
            max_events: 4 * MAX_YAML_NODES,
            max_anchors: 0,
            max_aliases: 0,
            max_depth: 16,
            flow_nesting_limit: 16,
            max_documents: 1,
            max_merge_keys: 0,
            max_total_scalar_bytes: MAX_FILE_BYTES,
        },
    }
}

fn first_line(text: &str) -> String {
    crate::readiness::one_line(text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests;
