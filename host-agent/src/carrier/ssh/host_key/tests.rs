use std::path::Path;

use super::*;
use crate::carrier::ssh::{expand::tests::local, target::Target};

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvMOallXxMwOs5lCqkSBS2spYF8+gkDdIYHk7KTVOuv";
const OTHER: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIxGxoFr/xIYzctOySLFuV7L6C6atRKrfb0ewF6mjHqK";

fn key(text: &str) -> HostKey {
    text.parse().unwrap()
}

fn settings(files: &[&Path]) -> Settings {
    let target: Target = "dev:2222".parse().unwrap();
    let mut settings = Settings::defaults(&target, &local());
    settings.known_hosts = files.iter().map(|file| (*file).to_owned()).collect();
    settings
}

fn expected(file: &Path, policy: &HostKeyPolicy) -> Expected {
    Expected::read(&settings(&[file]), policy).unwrap()
}

fn known(own: Option<&Path>, accept_new: bool) -> HostKeyPolicy {
    HostKeyPolicy::Known {
        own: own.map(Path::to_owned),
        accept_new,
    }
}

#[test]
fn a_changed_key_names_both_fingerprints_and_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kh");
    fs::write(&file, format!("# one\n[dev]:2222 {OTHER}\n")).unwrap();
    let error = expected(&file, &known(None, true))
        .check(&key(ED25519))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "its host key has changed: it shows {}, and {}:2 has {}",
            key(ED25519).fingerprint(),
            file.display(),
            key(OTHER).fingerprint()
        )
    );
    assert_eq!(
        error.hints("dev")[1],
        format!("if it has, remove line 2 of {}", file.display())
    );
}

#[test]
fn an_unknown_key_is_taken_on_request_only_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let (file, own) = (dir.path().join("kh"), dir.path().join("state/known_hosts"));
    let refused = expected(&file, &known(Some(&own), false))
        .check(&key(ED25519))
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "its host key is not known: it shows {}, and no file has [dev]:2222",
            key(ED25519).fingerprint()
        )
    );
    assert!(!own.exists());
    let accepting = known(Some(&own), true);
    expected(&file, &accepting).check(&key(ED25519)).unwrap();
    let written = fs::read_to_string(&own).unwrap();
    assert!(
        written.starts_with("|1|") && written.ends_with(&format!("{ED25519}\n")),
        "{written}"
    );
    expected(&file, &accepting).check(&key(ED25519)).unwrap();
    assert_eq!(fs::read_to_string(&own).unwrap(), written);
    let changed = expected(&file, &accepting).check(&key(OTHER)).unwrap_err();
    assert!(matches!(changed, HostKeyError::Changed { .. }), "{changed}");
}

#[test]
fn a_pinned_key_is_the_only_one_whatever_the_files_say() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kh");
    fs::write(&file, format!("[dev]:2222 {OTHER}\n")).unwrap();
    let pinned = HostKeyPolicy::Pinned(vec![key(ED25519)]);
    expected(&file, &pinned).check(&key(ED25519)).unwrap();
    let error = expected(&file, &pinned).check(&key(OTHER)).unwrap_err();
    assert!(matches!(error, HostKeyError::NotPinned { .. }), "{error}");
}

#[test]
fn the_type_that_is_filed_is_asked_for_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kh");
    let p384 = Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    };
    fs::write(&file, "[dev]:2222 ecdsa-sha2-nistp384 AAAA\n").unwrap();
    let expected = expected(&file, &known(None, false));
    assert_eq!(expected.algorithms()[0], p384);
    assert_eq!(expected.algorithms().len(), 4);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = Expected::read(&settings(&[dir.path()]), &known(None, true)).unwrap_err();
    assert!(matches!(error, HostKeyError::Read { .. }), "{error}");
}

#[test]
fn texts_that_are_no_keys_are_refused() {
    assert!("ssh-ed25519 AAAA".parse::<HostKey>().is_err());
    assert_eq!(
        key(&format!("{ED25519} root@dev\n")).fingerprint(),
        key(ED25519).fingerprint()
    );
}
