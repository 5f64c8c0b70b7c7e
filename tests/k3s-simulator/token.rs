//! The join token: `server/token`, and `server/node-token` that links to it.

use std::fmt::Write;
use std::io;
use std::os::unix::fs::symlink;

use crate::certificates::Pki;
use crate::files;
use crate::options::Options;

/// Writes the token of the cluster: the configured one, the one of the last run, or a new one.
pub(crate) fn write(options: &Options, pki: &Pki) -> io::Result<()> {
    let directory = options.data_dir.join("server");
    let path = directory.join("token");
    let earlier = std::fs::read_to_string(&path).ok();
    let password = match (&options.token, earlier.as_deref().and_then(password)) {
        (Some(token), _) => password(token).unwrap_or(token).to_owned(),
        (None, Some(password)) => password.to_owned(),
        (None, None) => random_password()?,
    };
    let digest = hex(sha256(pki.server_ca_pem.as_bytes())?.as_ref());
    files::write_atomically(
        &path,
        format!("K10{digest}::server:{password}\n").as_bytes(),
        0o600,
    )?;
    let link = directory.join("node-token");
    match symlink(&path, &link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// The part of `K10<digest>::server:<password>` that is secret.
fn password(token: &str) -> Option<&str> {
    token
        .trim()
        .strip_prefix("K10")?
        .split_once("::server:")
        .map(|(_, password)| password)
}

fn random_password() -> io::Result<String> {
    let mut bytes = [0; 16];
    let provider = rustls::crypto::ring::default_provider();
    provider
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(hex(&bytes))
}

fn sha256(bytes: &[u8]) -> io::Result<rustls::crypto::hash::Output> {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite
        .tls13()
        .map(|suite| suite.common.hash_provider.hash(bytes));
    hash.ok_or_else(|| io::Error::other("the TLS library has no SHA-256"))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_part_is_found_in_the_secure_form_only() {
        assert_eq!(password("K10abc::server:secret\n"), Some("secret"));
        assert_eq!(password("secret"), None);
        assert_eq!(
            hex(sha256(b"abc").unwrap().as_ref()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
