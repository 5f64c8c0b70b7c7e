use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{node::Node, *};

pub(super) struct Pki {
    pub(super) authority: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Pki {
    pub(super) fn new() -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(params, authority_key);
        let certificate = CertificateParams::default()
            .signed_by(&key, &issuer)
            .unwrap();
        Self {
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(super) fn values(&self) -> KubeconfigValues {
        KubeconfigValues {
            client_certificate: Some(self.certificate.clone()),
            client_key: Some(self.key.clone()),
            ..self.without_credentials()
        }
    }

    pub(super) fn without_credentials(&self) -> KubeconfigValues {
        KubeconfigValues {
            api_port: 6443,
            certificate_authority: self.authority.clone(),
            client_certificate: None,
            client_key: None,
            token: None,
            username: None,
            password: None,
        }
    }
}

/// What some cluster is recognised by.
pub(crate) fn identity() -> ServerIdentity {
    ServerIdentity::from_values(&Pki::new().without_credentials()).unwrap()
}

pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(super) fn build(values: &KubeconfigValues) -> Result<Entry, KubeconfigError> {
    Entry::build(&"k3s-dev".parse().unwrap(), 6443, values, now())
}

fn with_chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_chain(source)),
        None => error.to_string(),
    }
}

#[test]
fn the_text_is_ours_alone() {
    let pki = Pki::new();
    let values = KubeconfigValues {
        token: Some("abc.DEF-1".to_owned()),
        ..pki.without_credentials()
    };
    let entry = build(&values).unwrap();
    let authority = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &pki.authority);
    let text = entry.to_yaml().replace(&authority, "AUTHORITY");
    insta::assert_snapshot!(text, @r#"
apiVersion: "v1"
kind: "Config"
clusters:
- name: "k3s-dev"
  cluster:
    server: "https://127.0.0.1:6443"
    certificate-authority-data: "AUTHORITY"
users:
- name: "k3s-dev"
  user:
    token: "abc.DEF-1"
contexts:
- name: "k3s-dev"
  context:
    cluster: "k3s-dev"
    user: "k3s-dev"
current-context: "k3s-dev"
"#);
    assert_eq!(entry.to_yaml(), build(&values).unwrap().to_yaml());
    assert_eq!(entry.warnings(), [""; 0]);
}

#[test]
fn certificates_pass_through_der() {
    let pki = Pki::new();
    let strange = |pem: &str| format!("\n\n{}\r\n \n", pem.replace('\n', "  \r\n"));
    let values = KubeconfigValues {
        certificate_authority: strange(&pki.authority).repeat(2),
        client_certificate: Some(strange(&(pki.certificate.clone() + &pki.authority))),
        client_key: Some(strange(&pki.key)),
        ..pki.without_credentials()
    };
    let yaml: Node = serde_saphyr::from_str(&build(&values).unwrap().to_yaml()).unwrap();
    let data = |list: &str, key: &str, field: &str| {
        let item = &yaml.value(list).unwrap().as_list().unwrap()[0];
        let text = item
            .value(key)
            .unwrap()
            .value(field)
            .unwrap()
            .as_text()
            .unwrap();
        let bytes = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let plain = |pem: &str| pem.replace('\r', "");
    assert_eq!(
        data("clusters", "cluster", "certificate-authority-data"),
        plain(&pki.authority).repeat(2)
    );
    assert_eq!(
        data("users", "user", "client-certificate-data"),
        plain(&(pki.certificate.clone() + &pki.authority))
    );
    assert_eq!(data("users", "user", "client-key-data"), plain(&pki.key));
}

#[test]
fn hostile_values_are_refused_with_a_reason() {
    let pki = Pki::new();
    let other = Pki::new();
    let good = || pki.values();
    let bare = || pki.without_credentials();
    let authority = |pem: &str| KubeconfigValues {
        certificate_authority: pem.to_owned(),
        ..good()
    };
    let certificate = |pem: &str| KubeconfigValues {
        client_certificate: Some(pem.to_owned()),
        ..good()
    };
    let key = |pem: &str| KubeconfigValues {
        client_key: Some(pem.to_owned()),
        ..good()
    };
    let token = |token: &str| KubeconfigValues {
        token: Some(token.to_owned()),
        ..bare()
    };
    let password = |password: &str| KubeconfigValues {
        username: Some("admin".to_owned()),
        password: Some(password.to_owned()),
        ..bare()
    };
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n";
    let not_a_key = "-----BEGIN PRIVATE KEY-----\neA==\n-----END PRIVATE KEY-----\n";
    let cases = [
        authority(""),
        authority(&"A".repeat(10 << 20)),
        authority(&pki.key),
        authority(&pki.certificate),
        authority(not_a_certificate),
        authority(&(pki.authority.clone() + "\nusers:\n- name: x")),
        authority(&(pki.authority.clone() + "\n$(reboot)")),
        authority(&pki.authority.replace("BEGIN", "\u{1b}[2JBEGIN")),
        authority(&pki.authority.repeat(9)),
        certificate(&pki.key),
        certificate(&other.certificate),
        certificate(not_a_certificate),
        key(&pki.certificate),
        key(&other.key),
        key(&pki.key.repeat(2)),
        key(not_a_key),
        key(&not_a_key.replace("PRIVATE", "EC PRIVATE")),
        key(&not_a_key.replace("PRIVATE", "RSA PRIVATE")),
        key(&pki.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
        KubeconfigValues {
            client_key: None,
            ..good()
        },
        KubeconfigValues {
            client_certificate: None,
            ..good()
        },
        KubeconfigValues {
            username: Some("admin".to_owned()),
            ..bare()
        },
        bare(),
        token(""),
        token("a\nusers:"),
        token("a b"),
        token(&"a".repeat(1 << 20)),
        password("x\u{1b}[2J"),
        password("x\u{202e}"),
        password("x\ny"),
    ];
    let messages: Vec<_> = cases
        .iter()
        .map(|values| {
            build(values).map_or_else(|error| with_chain(&error), |_| "accepted".to_owned())
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"), @r"
the guest's certificate authority cannot be used: it has no PEM block
the guest's certificate authority cannot be used: it has 10485760 bytes, more than 65536
the guest's certificate authority cannot be used: the PEM block in line 1 is not a CERTIFICATE
the guest's certificate authority may not sign certificates
the guest's certificate authority is not an X.509 certificate
the guest's certificate authority cannot be used: line 12 is outside of a PEM block
the guest's certificate authority cannot be used: line 12 is outside of a PEM block
the guest's certificate authority cannot be used: line 1 is outside of a PEM block
the guest's certificate authority cannot be used: it has 9 PEM blocks, more than 8
the guest's client certificate cannot be used: the PEM block in line 1 is not a CERTIFICATE
the guest's client key does not belong to its client certificate
the guest's client certificate is not an X.509 certificate
the guest's client key cannot be used: the PEM block in line 1 is not a PRIVATE KEY
the guest's client key does not belong to its client certificate
the guest's client key cannot be used: it has 2 PEM blocks, more than 1
the guest's client key cannot be used: it has not the structure of a private key
the guest's client key cannot be used: it has not the structure of a private key
the guest's client key cannot be used: it has not the structure of a private key
the guest's client key cannot be used: the PEM block in line 1 is not a PRIVATE KEY
the guest sent a client certificate without a client key
the guest sent a client key without a client certificate
the guest sent a user name without a password
the guest sent no credentials
the guest's token is empty, too long or has characters that no token has
the guest's token is empty, too long or has characters that no token has
the guest's token is empty, too long or has characters that no token has
the guest's token is empty, too long or has characters that no token has
the guest's password is empty, too long or has characters that no password has
the guest's password is empty, too long or has characters that no password has
the guest's password is empty, too long or has characters that no password has
");
    let error = CommandError::from(build(&cases[0]).unwrap_err());
    assert_eq!(error.kind.exit_code(), 10);
}

#[test]
fn keys_of_k3s_belong_to_their_certificates() {
    // What `openssl ecparam -genkey` and Go write: SEC 1 with its public half.
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    let pkcs8 = key.serialize_der();
    let sec1_at = pkcs8
        .windows(5)
        .position(|window| window == [0x02, 0x01, 0x01, 0x04, 0x20])
        .unwrap();
    let sec1 = Block {
        kind: "EC PRIVATE KEY",
        der: pkcs8[sec1_at - 2..].to_vec(),
    };
    let pki = Pki::new();
    let values = |certificate: String| KubeconfigValues {
        client_certificate: Some(certificate),
        client_key: Some(sec1.to_pem()),
        ..pki.without_credentials()
    };
    assert!(build(&values(certificate.pem())).is_ok());
    let error = build(&values(pki.certificate.clone())).unwrap_err();
    assert!(matches!(error, KubeconfigError::KeyOfAnother));
}

#[test]
fn ed25519_keys_are_compared_when_they_say_their_public_half() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap();
    let pki = Pki::new();
    let values = |certificate: String| KubeconfigValues {
        client_certificate: Some(certificate),
        client_key: Some(key.serialize_pem()),
        ..pki.without_credentials()
    };
    assert!(build(&values(certificate.pem())).is_ok());
    assert!(matches!(
        build(&values(pki.certificate.clone())),
        Err(KubeconfigError::KeyOfAnother)
    ));
}

#[test]
fn certificates_out_of_their_time_are_warned_of() {
    let pki = Pki::new();
    let at = |seconds| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Entry::build(&"a".parse().unwrap(), 1, &pki.values(), now)
            .unwrap()
            .warnings()
            .to_vec()
    };
    assert_eq!(at(1_800_000_000), [""; 0]);
    let late = at(100_000_000_000);
    assert_eq!(late.len(), 2);
    assert!(
        late[1].starts_with("the client certificate expired "),
        "{late:?}"
    );
    assert!(
        at(0)[0].starts_with("the certificate authority is valid only in "),
        "{:?}",
        at(0)
    );
}

#[test]
fn the_file_is_private_and_rewritten_only_when_it_changes() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("kubeconfig.yaml");
    let entry = build(&Pki::new().values()).unwrap();
    assert!(entry.write(&path).unwrap());
    assert!(!entry.write(&path).unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(entry.write(&path).unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert!(remove(&path).unwrap());
    assert!(!remove(&path).unwrap());
}

#[test]
fn kubectl_reads_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("kubeconfig.yaml");
    build(&Pki::new().values()).unwrap().write(&path).unwrap();
    let output = Command::new("kubectl")
        .args([
            "config",
            "view",
            "--raw",
            "--output",
            "json",
            "--kubeconfig",
        ])
        .arg(&path)
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return println!("skipped: no kubectl on PATH");
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{output:?}");
    let view: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(view["current-context"], "k3s-dev");
    assert_eq!(view["contexts"][0]["context"]["user"], "k3s-dev");
    assert_eq!(
        view["clusters"][0]["cluster"]["server"],
        "https://127.0.0.1:6443"
    );
    assert!(view["users"][0]["user"]["client-key-data"].is_string());
}

#[test]
fn the_authorities_are_handed_out() {
    let pki = Pki::new();
    let identity = ServerIdentity::from_values(&pki.without_credentials()).unwrap();
    assert_eq!(identity.authorities().len(), 1);
    assert_eq!(
        pem::encode_certificate(&identity.authorities()[0]),
        pki.authority.replace('\r', "")
    );
    assert_eq!(*build(&pki.values()).unwrap().identity(), identity);
}

/// Every key in a document, with those above it.
fn keys(node: &Node, above: &str, found: &mut Vec<String>) {
    match node {
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = format!("{above}.{key}");
                keys(value, &path, found);
                found.push(path);
            }
        }
        Node::List(items) => items.iter().for_each(|item| keys(item, above, found)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn whatever_a_guest_sends_only_known_keys_come_out(
        authority in prop::option::of(any::<String>()),
        certificate in prop::option::of(prop::option::of(any::<String>())),
        token in prop::option::of("[ -~\n]{0,40}|[a-z:=]{1,20}"),
        username in prop::option::of(any::<String>()),
        password in prop::option::of(any::<String>()),
    ) {
        thread_local!(static PKI: Pki = Pki::new());
        let values = PKI.with(|pki| {
            let good = pki.values();
            KubeconfigValues {
                certificate_authority: authority.unwrap_or(good.certificate_authority),
                client_certificate: certificate.map_or(good.client_certificate, |other| other),
                client_key: None,
                api_port: 1,
                token,
                username,
                password,
            }
        });
        let values = KubeconfigValues {
            client_certificate: values.client_certificate.filter(|text| !text.starts_with("-----BEGIN")),
            ..values
        };
        if let Ok(entry) = build(&values) {
            let document: Node = serde_saphyr::from_str(&entry.to_yaml()).unwrap();
            let mut found = Vec::new();
            keys(&document, "", &mut found);
            let allowed = [
                ".apiVersion", ".kind", ".clusters", ".users", ".contexts", ".current-context",
                ".clusters.name", ".clusters.cluster", ".users.name", ".users.user",
                ".contexts.name", ".contexts.context", ".contexts.context.cluster",
                ".contexts.context.user", ".clusters.cluster.server",
                ".clusters.cluster.certificate-authority-data",
                ".users.user.client-certificate-data", ".users.user.client-key-data",
                ".users.user.token", ".users.user.username", ".users.user.password",
            ];
            for key in &found {
                prop_assert!(allowed.contains(&key.as_str()), "{key}");
            }
            let user = document.value("users").and_then(Node::as_list).unwrap()[0].value("user").unwrap();
            let said = |key: &str| user.value(key).and_then(Node::as_text).map(str::to_owned);
            prop_assert_eq!(said("token"), values.token.clone());
            if values.token.is_none() {
                prop_assert_eq!(said("username"), values.username);
                prop_assert_eq!(said("password"), values.password);
            }
        }
    }
}
