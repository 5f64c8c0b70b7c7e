//! The server's PKI under `DATA_DIR/server/tls`, laid out as k3s lays it out.
//!
//! The CAs live ten years and survive a restart. Leaf certificates live a year and are issued again
//! at a start when they are within 120 days of their end, or when the wanted names changed.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::files;

const DAY: Duration = Duration::from_secs(86_400);
const CA_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 365;
const RENEW_DAYS: u32 = 120;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} does not hold {expected}")]
    Content {
        path: PathBuf,
        expected: &'static str,
    },
    #[error("cannot issue a certificate for {subject}")]
    Issue {
        subject: String,
        source: rcgen::Error,
    },
}

/// A certificate chain and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

pub(crate) struct Pki {
    tls_dir: PathBuf,
    pub(crate) server_ca_pem: String,
    client_ca: Authority,
    pub(crate) client_ca_pem: String,
    pub(crate) admin: Pair,
    pub(crate) serving: Pair,
}

/// The names that the serving certificate answers for.
pub(crate) struct Names {
    pub(crate) dns: BTreeSet<String>,
    pub(crate) addresses: BTreeSet<IpAddr>,
}

impl Pki {
    /// Reads what an earlier start left, and issues what is missing or due.
    pub(crate) fn prepare(
        data_dir: &Path,
        names: &Names,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let tls_dir = data_dir.join("server/tls");
        files::create_private_dir(&tls_dir).map_err(|source| file_error(&tls_dir, source))?;
        let server_ca = Authority::load_or_create(&tls_dir, "server-ca", "k3s-server-ca", now)?;
        let client_ca = Authority::load_or_create(&tls_dir, "client-ca", "k3s-client-ca", now)?;
        Authority::load_or_create(&tls_dir, "request-header-ca", "k3s-request-header-ca", now)?;
        let admin = client_ca.load_or_issue_file(&tls_dir, "client-admin", &Leaf::admin(), now)?;
        client_ca.load_or_issue_file(
            &tls_dir,
            "client-kube-apiserver",
            &Leaf::api_server_client(),
            now,
        )?;
        server_ca.load_or_issue_file(
            &tls_dir,
            "serving-kube-apiserver",
            &Leaf::serving("", "kube-apiserver", names),
            now,
        )?;
        let serving = serving_pair(&tls_dir, &server_ca, names, now)?;
        Ok(Self {
            server_ca_pem: server_ca.certificate_pem,
            client_ca_pem: client_ca.certificate_pem.clone(),
            tls_dir,
            client_ca,
            admin,
            serving,
        })
    }

    /// Issues the admin's certificate again, with a new key; the old one stays valid, as with k3s.
    pub(crate) fn rotate_admin(&mut self, now: SystemTime) -> Result<(), CertificateError> {
        self.admin =
            self.client_ca
                .issue_file(&self.tls_dir, "client-admin", &Leaf::admin(), now)?;
        Ok(())
    }
}

/// The k3s listener's own certificate is kept as a Secret in `dynamic-cert.json`.
fn serving_pair(
    dir: &Path,
    ca: &Authority,
    names: &Names,
    now: SystemTime,
) -> Result<Pair, CertificateError> {
    let leaf = Leaf::serving("k3s", "k3s", names);
    let path = dir.join("dynamic-cert.json");
    if let Some(pair) = std::fs::read(&path)
        .ok()
        .and_then(|bytes| secret_pair(&bytes))
        && leaf.is_current(&pair, &ca.certificate_der, now)
    {
        return Ok(pair);
    }
    let pair = ca.issue(&leaf, now)?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "k3s-serving", "namespace": "kube-system"},
        "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": STANDARD.encode(&pair.certificate_pem),
            "tls.key": STANDARD.encode(&pair.key_pem),
        },
    });
    write(&path, secret.to_string().as_bytes())?;
    Ok(pair)
}

fn secret_pair(bytes: &[u8]) -> Option<Pair> {
    let secret: Value = serde_json::from_slice(bytes).ok()?;
    let part = |name: &str| {
        let encoded = secret.get("data")?.get(name)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    Some(Pair {
        certificate_pem: part("tls.crt")?,
        key_pem: part("tls.key")?,
    })
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_der: CertificateDer<'static>,
    certificate_pem: String,
}

impl Authority {
    fn load_or_create(
        dir: &Path,
        file: &str,
        name: &str,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let (certificate_path, key_path) = paths(dir, file);
        if certificate_path.exists() && key_path.exists() {
            return Self::load(&certificate_path, &key_path);
        }
        let epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let common_name = format!("{name}@{epoch}");
        let issue_error = |source| CertificateError::Issue {
            subject: common_name.clone(),
            source,
        };
        let mut params = authority_params(&common_name);
        params.not_before = now.into();
        params.not_after = (now + DAY * CA_DAYS).into();
        let key = KeyPair::generate().map_err(issue_error)?;
        let certificate = params.self_signed(&key).map_err(issue_error)?;
        let certificate_pem = certificate.pem();
        // k3s has its authorities in its database. What they issue is issued again where it is spoilt.
        for (path, pem) in [
            (&key_path, &key.serialize_pem()),
            (&certificate_path, &certificate_pem),
        ] {
            files::write_durably(path, pem.as_bytes(), 0o600)
                .map_err(|source| file_error(path, source))?;
        }
        Ok(Self {
            certificate_der: certificate.der().clone(),
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    fn load(certificate_path: &Path, key_path: &Path) -> Result<Self, CertificateError> {
        let content = |path: &Path, expected| CertificateError::Content {
            path: path.to_owned(),
            expected,
        };
        let certificate_pem = read(certificate_path)?;
        let certificate_der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| content(certificate_path, "a certificate"))?;
        let common_name = common_name(&certificate_der)
            .ok_or_else(|| content(certificate_path, "a certificate with a common name"))?;
        let key =
            KeyPair::from_pem(&read(key_path)?).map_err(|_| content(key_path, "a private key"))?;
        let issuer = Issuer::new(authority_params(&common_name), key);
        Ok(Self {
            issuer,
            certificate_der,
            certificate_pem,
        })
    }

    fn load_or_issue_file(
        &self,
        dir: &Path,
        file: &str,
        leaf: &Leaf,
        now: SystemTime,
    ) -> Result<Pair, CertificateError> {
        let (certificate_path, key_path) = paths(dir, file);
        if let (Ok(certificate_pem), Ok(key_pem)) = (
            std::fs::read_to_string(&certificate_path),
            std::fs::read_to_string(&key_path),
        ) {
            let pair = Pair {
                certificate_pem,
                key_pem,
            };
            if leaf.is_current(&pair, &self.certificate_der, now) {
                return Ok(pair);
            }
        }
        self.issue_file(dir, file, leaf, now)
    }

    fn issue_file(
        &self,
        dir: &Path,
        file: &str,
        leaf: &Leaf,
        now: SystemTime,
    ) -> Result<Pair, CertificateError> {
        let (certificate_path, key_path) = paths(dir, file);
        let pair = self.issue(leaf, now)?;
        write(&key_path, pair.key_pem.as_bytes())?;
        write(&certificate_path, pair.certificate_pem.as_bytes())?;
        Ok(pair)
    }

    /// The chain ends in this authority's own certificate, as k3s' does.
    fn issue(&self, leaf: &Leaf, now: SystemTime) -> Result<Pair, CertificateError> {
        let issue_error = |source| CertificateError::Issue {
            subject: leaf.common_name.clone(),
            source,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if !leaf.organization.is_empty() {
            params
                .distinguished_name
                .push(DnType::OrganizationName, leaf.organization.as_str());
        }
        params
            .distinguished_name
            .push(DnType::CommonName, leaf.common_name.as_str());
        params.not_before = now.into();
        params.not_after = (now + DAY * LEAF_DAYS).into();
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![leaf.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        for name in &leaf.dns {
            params.subject_alt_names.push(SanType::DnsName(
                name.as_str().try_into().map_err(issue_error)?,
            ));
        }
        params
            .subject_alt_names
            .extend(leaf.addresses.iter().copied().map(SanType::IpAddress));
        let key = KeyPair::generate().map_err(issue_error)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue_error)?;
        let certificate_pem = format!("{}{}", certificate.pem(), self.certificate_pem);
        Ok(Pair {
            certificate_pem,
            key_pem: key.serialize_pem(),
        })
    }
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    params
}

struct Leaf {
    organization: String,
    common_name: String,
    usage: ExtendedKeyUsagePurpose,
    dns: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
}

impl Leaf {
    fn admin() -> Self {
        Self::client("system:masters", "system:admin")
    }

    fn api_server_client() -> Self {
        Self::client("system:masters", "system:apiserver")
    }

    fn client(organization: &str, common_name: &str) -> Self {
        Self {
            organization: organization.to_owned(),
            common_name: common_name.to_owned(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            dns: BTreeSet::new(),
            addresses: BTreeSet::new(),
        }
    }

    fn serving(organization: &str, common_name: &str, names: &Names) -> Self {
        Self {
            organization: organization.to_owned(),
            common_name: common_name.to_owned(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            dns: names.dns.clone(),
            addresses: names.addresses.clone(),
        }
    }

    /// Whether `pair` was issued by this authority, names all that is wanted, and lasts long enough.
    fn is_current(&self, pair: &Pair, issuer: &CertificateDer<'_>, now: SystemTime) -> bool {
        let Ok(der) = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()) else {
            return false;
        };
        let (Ok((_, certificate)), Ok((_, issuer))) = (
            X509Certificate::from_der(&der),
            X509Certificate::from_der(issuer),
        ) else {
            return false;
        };
        let renew_at = now.duration_since(UNIX_EPOCH).unwrap_or_default() + DAY * RENEW_DAYS;
        let expires_at = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let (dns, addresses) = alternative_names(&certificate);
        certificate.issuer() == issuer.subject()
            && KeyPair::from_pem(&pair.key_pem).is_ok_and(|key| {
                certificate.public_key().subject_public_key.data == key.public_key_raw()
            })
            && expires_at > renew_at.as_secs()
            && self.dns == dns
            && self.addresses == addresses
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> (BTreeSet<String>, BTreeSet<IpAddr>) {
    let (mut dns, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (dns, addresses);
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(name) => {
                dns.insert((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                addresses.extend(v4.or(v6));
            }
            _ => {}
        }
    }
    (dns, addresses)
}

fn common_name(der: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate
        .subject()
        .iter_common_name()
        .next()?
        .as_str()
        .ok()?;
    Some(name.to_owned())
}

/// The chain and key in the form that the TLS library takes.
pub(crate) fn chain_and_key(
    pair: &Pair,
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .ok()?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(pair.key_pem.as_bytes()).ok()?;
    Some((chain, key.into()))
}

fn paths(dir: &Path, file: &str) -> (PathBuf, PathBuf) {
    (
        dir.join(format!("{file}.crt")),
        dir.join(format!("{file}.key")),
    )
}

fn read(path: &Path) -> Result<String, CertificateError> {
    std::fs::read_to_string(path).map_err(|source| file_error(path, source))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CertificateError> {
    files::write_atomically(path, bytes, 0o600).map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: io::Error) -> CertificateError {
    CertificateError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dns: &[&str]) -> Names {
        Names {
            dns: dns.iter().map(|&name| name.to_owned()).collect(),
            addresses: ["127.0.0.1", "::1", "10.43.0.1"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
        }
    }

    #[test]
    fn a_restart_keeps_what_is_still_good() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = Pki::prepare(directory.path(), &names(&["kubernetes"]), now).unwrap();
        let second = Pki::prepare(directory.path(), &names(&["kubernetes"]), now).unwrap();
        assert_eq!(first.server_ca_pem, second.server_ca_pem);
        assert_eq!(first.admin.certificate_pem, second.admin.certificate_pem);
        assert_eq!(
            first.serving.certificate_pem,
            second.serving.certificate_pem
        );
    }

    #[test]
    fn new_names_and_near_ends_mean_new_leaves_from_the_same_authority() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = Pki::prepare(directory.path(), &names(&["kubernetes"]), now).unwrap();
        let renamed =
            Pki::prepare(directory.path(), &names(&["kubernetes", "other"]), now).unwrap();
        assert_ne!(
            first.serving.certificate_pem,
            renamed.serving.certificate_pem
        );
        assert_eq!(first.admin.certificate_pem, renamed.admin.certificate_pem);
        let later = Pki::prepare(
            directory.path(),
            &names(&["kubernetes", "other"]),
            now + DAY * 250,
        )
        .unwrap();
        assert_ne!(renamed.admin.certificate_pem, later.admin.certificate_pem);
        assert_eq!(first.server_ca_pem, later.server_ca_pem);
    }

    #[test]
    fn rotation_issues_a_new_key_under_the_same_authority() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut pki = Pki::prepare(directory.path(), &names(&["kubernetes"]), now).unwrap();
        let before = pki.admin.clone();
        pki.rotate_admin(now).unwrap();
        assert_ne!(before.key_pem, pki.admin.key_pem);
        assert!(Leaf::admin().is_current(&pki.admin, &pki.client_ca.certificate_der, now));
    }

    #[test]
    fn the_serving_certificate_names_what_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::prepare(
            directory.path(),
            &names(&["kubernetes", "localhost"]),
            SystemTime::now(),
        )
        .unwrap();
        let der = CertificateDer::from_pem_slice(pki.serving.certificate_pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let (dns, addresses) = alternative_names(&certificate);
        assert_eq!(dns, names(&["kubernetes", "localhost"]).dns);
        assert_eq!(addresses.len(), 3);
        assert_eq!(certificate.subject().to_string(), "O=k3s, CN=k3s");
        assert!(
            certificate
                .issuer()
                .to_string()
                .starts_with("CN=k3s-server-ca@")
        );
    }

    #[test]
    fn a_broken_authority_is_named() {
        let directory = tempfile::tempdir().unwrap();
        Pki::prepare(directory.path(), &names(&[]), SystemTime::now()).unwrap();
        std::fs::write(directory.path().join("server/tls/server-ca.crt"), "rubbish").unwrap();
        let error = Pki::prepare(directory.path(), &names(&[]), SystemTime::now())
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .ends_with("server-ca.crt does not hold a certificate"),
            "{error}"
        );
    }
}
