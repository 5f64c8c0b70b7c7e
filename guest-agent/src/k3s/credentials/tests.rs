use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::*;
use crate::k3s::encoding::encode_base64;

const CA: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAwQF\n-----END EC PRIVATE KEY-----\n";

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n{cluster}  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\ncurrent-context: default\nkind: Config\npreferences: {{}}\nusers:\n- name: default\n  user:\n{user}"
    )
}

fn cluster() -> String {
    format!(
        "    certificate-authority-data: {}\n    server: https://127.0.0.1:6443\n",
        encode_base64(CA.as_bytes())
    )
}

fn user() -> String {
    format!(
        "    client-certificate-data: {}\n    client-key-data: {}\n",
        encode_base64(CA.as_bytes()),
        encode_base64(KEY.as_bytes())
    )
}

fn problem(text: &str) -> String {
    let error = parse(text.as_bytes()).expect_err(text);
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn as_k3s_writes_it() {
    let values = parse(kubeconfig(&cluster(), &user()).as_bytes()).unwrap();
    assert_eq!(values.api_port, 6443);
    assert_eq!(values.certificate_authority, CA);
    assert_eq!(values.client_certificate.as_deref(), Some(CA));
    assert_eq!(values.client_key.as_deref(), Some(KEY));
    assert_eq!(
        (values.token, values.username, values.password),
        (None, None, None)
    );
}

#[test]
fn as_old_releases_wrote_it() {
    let user = "    password: 0123456789abcdef\n    username: admin\n";
    let values = parse(kubeconfig(&cluster(), user).as_bytes()).unwrap();
    assert_eq!(values.username.as_deref(), Some("admin"));
    assert_eq!(values.password.as_deref(), Some("0123456789abcdef"));
    let values = parse(kubeconfig(&cluster(), "    token: abc.def\n").as_bytes()).unwrap();
    assert_eq!(values.token.as_deref(), Some("abc.def"));
}

#[test]
fn servers() {
    for (server, port) in [
        ("https://127.0.0.1:6443", Some(6443)),
        ("https://[::1]:16443", Some(16443)),
        ("https://[::1]", None),
        ("https://k3s.example:1/path?x#y", Some(1)),
        ("https://127.0.0.1", None),
        ("http://127.0.0.1:6443", None),
        ("https://127.0.0.1:0", None),
        ("https://127.0.0.1:65536", None),
        ("https://user:6443@evil/", None),
        ("unix:///run/k3s.sock", None),
    ] {
        assert_eq!(port_of(server).ok(), port, "{server}");
    }
}

#[test]
fn references_are_refused_by_name() {
    for field in [
        "certificate-authority: /etc/shadow",
        "proxy-url: http://evil",
        "insecure-skip-tls-verify: true",
    ] {
        let text = kubeconfig(&format!("{}    {field}\n", cluster()), &user());
        let name = field.split(':').next().unwrap();
        assert_eq!(
            problem(&text),
            format!("the kubeconfig of k3s has {name}, only values in the file itself are used")
        );
    }
    for field in [
        "exec: {command: /bin/sh}",
        "client-key: /root/key",
        "client-certificate: /c",
        "tokenFile: /t",
        "auth-provider: {name: x}",
    ] {
        let text = kubeconfig(&cluster(), &format!("{}    {field}\n", user()));
        let name = field.split(':').next().unwrap();
        assert!(
            problem(&text).contains(&format!("has {name}, only values")),
            "{}",
            problem(&text)
        );
    }
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(problem(""), "the kubeconfig of k3s has no cluster");
    assert_eq!(
        problem(&kubeconfig("    server: https://127.0.0.1:1\n", &user())),
        "the kubeconfig of k3s has no certificate-authority-data"
    );
    assert_eq!(
        problem(&kubeconfig(&cluster(), "    username: admin\n")),
        "the kubeconfig of k3s has no client-certificate-data, token or password to log in with"
    );
    let half = user().lines().next().unwrap().to_owned() + "\n";
    assert_eq!(
        problem(&kubeconfig(&cluster(), &half)),
        "the kubeconfig of k3s has no client-key-data"
    );
}

#[test]
fn wrong_contents_are_named() {
    let with = |data: &str| {
        kubeconfig(
            &format!("    server: https://127.0.0.1:1\n    certificate-authority-data: {data}\n"),
            &user(),
        )
    };
    assert_eq!(
        problem(&with("'!!'")),
        "certificate-authority-data in the kubeconfig of k3s cannot be used: not base64"
    );
    assert_eq!(
        problem(&with(&encode_base64(b"hello"))),
        "certificate-authority-data in the kubeconfig of k3s cannot be used: no PEM block"
    );
    assert_eq!(
        problem(&with(&encode_base64(KEY.as_bytes()))),
        "certificate-authority-data in the kubeconfig of k3s cannot be used: a PEM block of another kind than CERTIFICATE"
    );
    assert_eq!(
        problem(&with(&encode_base64(&[0xff, 0xfe]))),
        "certificate-authority-data in the kubeconfig of k3s cannot be used: not text"
    );
    let large = "x".repeat(MAX_VALUE_BYTES + 1);
    assert_eq!(
        problem(&with(&encode_base64(large.as_bytes()))),
        format!(
            "certificate-authority-data in the kubeconfig of k3s has more than {MAX_VALUE_BYTES} bytes"
        )
    );
    assert_eq!(
        problem(&kubeconfig(&cluster(), "    token: \"a\\eb\"\n")),
        "token in the kubeconfig of k3s has characters that it cannot have"
    );
}

#[test]
fn terminal_escapes_do_not_get_through() {
    let ca = format!("\u{1b}]0;owned\u{7}\n{CA}\u{1b}[2J");
    let text = kubeconfig(
        &format!(
            "    certificate-authority-data: {}\n    server: https://127.0.0.1:6443\n",
            encode_base64(ca.as_bytes())
        ),
        &user(),
    );
    assert_eq!(parse(text.as_bytes()).unwrap().certificate_authority, CA);
}

#[test]
fn bombs_fail_fast() {
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        writeln!(
            bomb,
            "a{level}: &a{level} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]",
            level - 1
        )
        .unwrap();
    }
    let deep = format!("clusters: {}", "[".repeat(100_000));
    let wide = format!("clusters: [{}]", "a,".repeat(120_000));
    for text in [bomb, deep, wide] {
        let begun = Instant::now();
        let problem = problem(&text);
        assert!(
            problem.starts_with("the kubeconfig of k3s is no kubeconfig: "),
            "{problem}"
        );
        assert!(!problem.contains('\n') && problem.len() < 600, "{problem}");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    assert!(matches!(
        parse(&vec![b'a'; MAX_FILE_BYTES + 1]),
        Err(CredentialsError::TooLarge)
    ));
    assert!(matches!(
        parse(&[0xff; 100]),
        Err(CredentialsError::NotText)
    ));
}

#[test]
fn a_file_is_read_within_its_bound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k3s.yaml");
    assert!(matches!(read(&path), Err(CredentialsError::Read(_))));
    std::fs::write(&path, vec![b' '; MAX_FILE_BYTES + 10]).unwrap();
    assert!(matches!(read(&path), Err(CredentialsError::TooLarge)));
    std::fs::write(&path, kubeconfig(&cluster(), &user())).unwrap();
    assert_eq!(read(&path).unwrap().api_port, 6443);
}

proptest::proptest! {
    #[test]
    fn whatever_is_in_it(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn whatever_is_cut_out(from in 0usize..400, length in 0usize..40) {
        let mut text = kubeconfig(&cluster(), &user()).into_bytes();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.drain(from..to);
        let _ = parse(&text);
    }
}
