use std::process::Command;

use russh::keys::ssh_key::public::KeyData;

use super::*;

/// A key made by ssh-keygen; nothing where there is none.
fn generated(dir: &Path, name: &str, arguments: &[&str]) -> Option<PathBuf> {
    let file = dir.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-f"])
        .arg(&file)
        .args(arguments)
        .output();
    match made {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(file)
        }
        Err(_) => {
            eprintln!("skipped: no ssh-keygen");
            None
        }
    }
}

async fn signature(file: &IdentityFile, hash: Option<HashAlg>) -> Result<Vec<u8>, SignError> {
    let key = file.public.clone().unwrap();
    let mut signer = file;
    signer
        .auth_sign(&key.into(), hash, b"message".to_vec())
        .await
}

#[tokio::test]
async fn keys_of_every_kind_and_format_sign() {
    let dir = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519", "-N", ""][..]),
        ("p256", &["-t", "ecdsa", "-b", "256", "-N", ""]),
        ("p521", &["-t", "ecdsa", "-b", "521", "-N", ""]),
        (
            "p384-pem",
            &["-t", "ecdsa", "-b", "384", "-m", "PKCS8", "-N", ""],
        ),
    ] {
        let mut signed = Err(SignError::Elsewhere);
        // One key of P-256 in 256 is left to an agent.
        for attempt in 0..4 {
            let Some(file) = generated(dir.path(), &format!("{name}-{attempt}"), arguments) else {
                return;
            };
            let key = IdentityFile::read(&file).unwrap();
            signed = signature(&key, None).await;
            if name != "p256" || signed.is_ok() {
                break;
            }
        }
        let signed = signed.unwrap();
        assert!(
            signed.starts_with(b"message") && signed.len() > 60,
            "{name}"
        );
    }
}

#[tokio::test]
async fn rsa_signatures_hold() {
    let dir = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("openssh", &["-t", "rsa", "-b", "2048", "-N", ""][..]),
        ("pem", &["-t", "rsa", "-b", "3072", "-m", "PEM", "-N", ""]),
        (
            "pkcs8",
            &["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", ""],
        ),
    ] {
        let Some(file) = generated(dir.path(), name, arguments) else {
            return;
        };
        let key = IdentityFile::read(&file).unwrap();
        let beside = public_of(&suffixed(&file, ".pub")).unwrap();
        let public = key.public.as_ref().unwrap();
        assert_eq!(public.key_data(), beside.key_data(), "{name}");
        let KeyData::Rsa(rsa) = public.key_data() else {
            panic!("{name} is no RSA key");
        };
        for (hash, padding) in [
            (
                HashAlg::Sha256,
                &ring::signature::RSA_PKCS1_2048_8192_SHA256,
            ),
            (
                HashAlg::Sha512,
                &ring::signature::RSA_PKCS1_2048_8192_SHA512,
            ),
        ] {
            let signed = signature(&key, Some(hash)).await.unwrap();
            let components = ring::signature::RsaPublicKeyComponents {
                n: rsa.n().as_positive_bytes().unwrap(),
                e: rsa.e().as_positive_bytes().unwrap(),
            };
            // The message, then the length of the whole, the name with its length, the length.
            let bare = &signed[b"message".len() + 4 + 4 + "rsa-sha2-256".len() + 4..];
            components.verify(padding, b"message", bare).unwrap();
        }
        assert!(matches!(
            signature(&key, None).await,
            Err(SignError::Unusable)
        ));
    }
}

#[tokio::test]
async fn a_passphrase_leaves_the_public_half() {
    let dir = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("new", &["-t", "ed25519", "-N", "secret"][..]),
        (
            "old",
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret"],
        ),
    ] {
        let Some(file) = generated(dir.path(), name, arguments) else {
            return;
        };
        let key = IdentityFile::read(&file).unwrap();
        assert!(key.public.is_some(), "{name}");
        assert!(
            matches!(signature(&key, None).await, Err(SignError::Locked)),
            "{name}"
        );
    }
}

#[test]
fn a_public_key_alone_is_for_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let Some(file) = generated(dir.path(), "k", &["-t", "ed25519", "-N", ""]) else {
        return;
    };
    fs::remove_file(&file).unwrap();
    for path in [file.clone(), suffixed(&file, ".pub")] {
        let key = IdentityFile::read(&path).unwrap();
        assert!(key.public.is_some() && matches!(key.secret, Secret::Elsewhere));
    }
    assert!(IdentityFile::read(&dir.path().join("nothing")).is_none());
}

#[test]
fn files_that_are_no_keys_hold_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for text in [
        "",
        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n",
    ] {
        let file = dir.path().join("k");
        fs::write(&file, text).unwrap();
        let key = IdentityFile::read(&file).unwrap();
        assert!(
            key.public.is_none() && matches!(key.secret, Secret::Elsewhere),
            "{text}"
        );
    }
}
