//! A client for the API on this machine's loopback.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use kube::config::AuthInfo;
use kube::{Client, Config};
use lkc_protocol::message::KubeconfigValues;
use thiserror::Error;

use super::WATCH_SECONDS;
use crate::k3s::encoding::{EncodingError, decode_pem, encode_base64};
use crate::readiness::one_line;

/// Connecting on loopback takes no time; a server that accepts and says nothing is cut off here.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Silence after which a connection counts as dead. A watch is quiet for as long as it lasts.
const READ_DEADLINE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// Depth to which causes are followed; a cycle must not hang.
const MAX_CAUSES: usize = 16;

/// Why there is no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The authority is no PEM.
    #[error("the certificate authority of k3s cannot be used")]
    Authority(#[from] EncodingError),
    /// The port makes no address.
    #[error("port {port} of k3s makes no address")]
    Address {
        /// The port.
        port: u16,
    },
    /// Keys or certificates are not accepted.
    #[error("the credentials of k3s cannot be used")]
    Build(#[source] Box<kube::Error>),
}

/// A client of `https://127.0.0.1:PORT` that trusts only the cluster's own authority.
///
/// # Errors
/// When certificates or keys are not what they should be.
pub fn connect(values: &KubeconfigValues) -> Result<Client, ClientError> {
    let port = values.api_port;
    let address = format!("https://127.0.0.1:{port}").parse();
    let mut config = Config::new(address.map_err(|_| ClientError::Address { port })?);
    let authority = decode_pem(&values.certificate_authority)?;
    config.root_cert = Some(authority.into_iter().map(|block| block.der).collect());
    config.connect_timeout = Some(CONNECT_DEADLINE);
    // Every answer, a list or the next event of a watch, comes within this or never.
    config.read_timeout = Some(READ_DEADLINE);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    let encode = |pem: &String| encode_base64(pem.as_bytes());
    config.auth_info = AuthInfo {
        client_certificate_data: values.client_certificate.as_ref().map(encode),
        client_key_data: values.client_key.as_ref().map(|pem| encode(pem).into()),
        token: values.token.clone().map(Into::into),
        username: values.username.clone(),
        password: values.password.clone().map(Into::into),
        ..AuthInfo::default()
    };
    Client::try_from(config).map_err(|error| ClientError::Build(Box::new(error)))
}

/// Why a request failed, in a line: the server's own words or the innermost cause.
pub(crate) fn request_problem(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => one_line(&status.message),
        kube::Error::Api(status) => format!("the API answers {}", status.code),
        _ if is_refused(error) => "nothing listens on the port of the API".to_owned(),
        _ => one_line(&innermost(error).to_string()),
    }
}

/// Whether nobody listens.
pub(crate) fn is_refused(error: &kube::Error) -> bool {
    let refused = |cause: &(dyn Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    causes(error).any(refused)
}

fn innermost<'error>(error: &'error (dyn Error + 'static)) -> &'error (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

fn causes<'error>(
    error: &'error (dyn Error + 'static),
) -> impl Iterator<Item = &'error (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'error (dyn Error + 'static)| {
        (*error).source()
    })
    .take(MAX_CAUSES)
}
