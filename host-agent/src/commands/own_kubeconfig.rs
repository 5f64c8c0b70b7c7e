//! A cluster's own kubeconfig read back, so that it can be merged into the user's.

use std::{path::Path, time::SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use lkc_protocol::message::KubeconfigValues;
use serde::Deserialize;
use thiserror::Error;

use crate::{
    config::ClusterName,
    error::{CommandError, Kind},
    kubeconfig::Entry,
    paths::private::read_bounded,
};

/// Longest file read, in bytes; ours have some ten thousand.
const LONGEST: usize = 1024 * 1024;

/// Why the file is not one of ours.
#[derive(Debug, Error)]
enum Strange {
    #[error("it is not YAML of a kubeconfig")]
    Syntax,
    #[error("it has no {0}")]
    Lacks(&'static str),
    #[error("its {0} is not PEM in base64")]
    Encoding(&'static str),
}

/// Reads the entry that the file was made of.
pub(super) fn read(path: &Path, cluster: &ClusterName) -> Result<Entry, CommandError> {
    let bytes = read_bounded(path, LONGEST).map_err(|error| {
        CommandError::new(Kind::HostIo, error).context(format!("cannot read {}", path.display()))
    })?;
    let (port, values) = parse(&String::from_utf8_lossy(&bytes)).map_err(|error| {
        CommandError::new(Kind::BadInput, error)
            .context(format!("{} was changed by somebody else", path.display()))
            .hint(format!(
                "have it written anew: `lkc-host restart {cluster}`"
            ))
    })?;
    Ok(Entry::build(cluster, port, &values, SystemTime::now())?)
}

#[derive(Deserialize)]
struct Document {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

fn parse(text: &str) -> Result<(u16, KubeconfigValues), Strange> {
    let document: Document = serde_saphyr::from_str(text).map_err(|_| Strange::Syntax)?;
    let cluster = document
        .clusters
        .into_iter()
        .next()
        .ok_or(Strange::Lacks("cluster"))?
        .cluster;
    let user = document
        .users
        .into_iter()
        .next()
        .ok_or(Strange::Lacks("user"))?
        .user;
    let port = cluster
        .server
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let port = port.ok_or(Strange::Lacks("port of the server"))?;
    let certificate = user.client_certificate_data;
    let values = KubeconfigValues {
        api_port: port,
        certificate_authority: pem("certificate authority", &cluster.certificate_authority_data)?,
        client_certificate: certificate
            .map(|data| pem("client certificate", &data))
            .transpose()?,
        client_key: user
            .client_key_data
            .map(|data| pem("client key", &data))
            .transpose()?,
        token: user.token,
        username: user.username,
        password: user.password,
    };
    Ok((port, values))
}

fn pem(what: &'static str, data: &str) -> Result<String, Strange> {
    let bytes = BASE64_STANDARD
        .decode(data)
        .map_err(|_| Strange::Encoding(what))?;
    String::from_utf8(bytes).map_err(|_| Strange::Encoding(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> KubeconfigValues {
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = authority
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap();
        let client = rcgen::generate_simple_self_signed(["admin".to_owned()]).unwrap();
        KubeconfigValues {
            api_port: 6444,
            certificate_authority: authority.pem(),
            client_certificate: Some(client.cert.pem()),
            client_key: Some(client.signing_key.serialize_pem()),
            token: None,
            username: None,
            password: None,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        let cluster: ClusterName = "k3s-capi".parse().unwrap();
        let entry = Entry::build(&cluster, 6444, &values(), SystemTime::now()).unwrap();
        entry.write(&path).unwrap();
        assert_eq!(read(&path, &cluster).unwrap(), entry);
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        let reasons = [
            "",
            "a: [",
            "clusters: []\nusers: []",
            "clusters: [{cluster: {server: https://x, certificate-authority-data: ''}}]\nusers: [{user: {}}]",
            "clusters: [{cluster: {server: 'https://x:1', certificate-authority-data: '!'}}]\nusers: [{user: {}}]",
        ]
        .map(|text| match parse(text) {
            Ok((port, _)) => panic!("{text} was accepted with port {port}"),
            Err(error) => error.to_string(),
        });
        insta::assert_snapshot!(reasons.join("\n"), @"
        it is not YAML of a kubeconfig
        it is not YAML of a kubeconfig
        it has no cluster
        it has no port of the server
        its certificate authority is not PEM in base64
        ");
    }
}
