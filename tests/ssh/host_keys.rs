//! Which servers are taken for those that are meant.

use std::{fs, process::Command};

use lkc_host::{carrier::ssh::HostKeyError, error::Kind};

use super::*;

fn host_key_error(error: &SshError) -> &HostKeyError {
    match error {
        SshError::HostKey { source, .. } => source,
        other => panic!("{}", chain(other)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_key_is_refused_with_both_fingerprints_and_the_line() {
    let Some(simple) = simple("") else { return };
    let stranger = simple.world.plain_key("stranger");
    let other = fs::read_to_string(stranger.with_extension("pub")).unwrap();
    let line = format!("# a comment\n[127.0.0.1]:{} {other}", simple.sshd.port);
    let file = simple.world.write("known_hosts", &line);
    let error = refusal(&simple.options).await;
    let text = chain(&error);
    assert!(
        text.contains("its host key has changed: it shows SHA256:"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{}:2 has SHA256:", file.display())),
        "{text}"
    );
    assert!(
        error.hints()[1].contains("remove line 2"),
        "{:?}",
        error.hints()
    );
    assert_eq!(error.kind(), Kind::Authentication);
    simple.sshd.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_type_than_the_filed_one_is_a_change() {
    let Some(world) = world() else { return };
    let (key, ecdsa) = (
        world.plain_key("id"),
        world.key("h", &["-t", "ecdsa", "-N", ""]),
    );
    let sshd = world.sshd_with("dev", &[ecdsa], &[&key], "");
    let stranger = fs::read_to_string(world.plain_key("s").with_extension("pub")).unwrap();
    world.write(
        "known_hosts",
        &format!("[127.0.0.1]:{} {stranger}", sshd.port),
    );
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let error = refusal(&options(&world, &block)).await;
    assert!(
        matches!(host_key_error(&error), HostKeyError::Changed { .. }),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_asked_for_the_type_that_is_filed() {
    let Some(simple) = simple("") else { return };
    let ecdsa = simple.sshd.known_hosts();
    let ecdsa = ecdsa.lines().find(|line| line.contains("ecdsa")).unwrap();
    simple.world.write("known_hosts", ecdsa);
    connect("dev", &simple.options, &cat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashed_names_are_found() {
    let Some(simple) = simple("") else { return };
    let file = simple.world.path("known_hosts");
    let hashed = Command::new("ssh-keygen")
        .arg("-Hf")
        .arg(&file)
        .output()
        .unwrap();
    assert!(hashed.status.success(), "{hashed:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("|1|") && !text.contains("127.0.0.1"),
        "{text}"
    );
    connect("dev", &simple.options, &cat()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_is_taken_on_request_and_held_against_the_server_from_then_on() {
    let Some(mut simple) = simple("") else { return };
    simple.world.write("known_hosts", "");
    let error = refusal(&simple.options).await;
    let text = chain(&error);
    assert!(
        text.ends_with(&format!("and no file has [127.0.0.1]:{}", simple.sshd.port)),
        "{text}"
    );
    assert!(
        error.hints()[1].contains("accept-new"),
        "{:?}",
        error.hints()
    );
    simple.options.accept_new = true;
    connect("dev", &simple.options, &cat()).await.unwrap();
    let own = fs::read_to_string(simple.world.path("own/known_hosts")).unwrap();
    simple.options.accept_new = false;
    connect("dev", &simple.options, &cat()).await.unwrap();
    // OpenSSH reads the line as well.
    let found = Command::new("ssh-keygen")
        .args(["-F", &format!("[127.0.0.1]:{}", simple.sshd.port), "-f"])
        .arg(simple.world.path("own/known_hosts"))
        .output()
        .unwrap();
    assert!(found.status.success(), "{found:?} {own}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_and_an_authority_are_refused() {
    let Some(simple) = simple("") else { return };
    let known = simple.sshd.known_hosts();
    let revoked: String = known
        .lines()
        .map(|line| format!("@revoked {line}\n"))
        .collect();
    simple
        .world
        .write("known_hosts", &format!("{known}{revoked}"));
    let error = refusal(&simple.options).await;
    assert!(
        matches!(host_key_error(&error), HostKeyError::Revoked { .. }),
        "{}",
        chain(&error)
    );
    let authority: String = known
        .lines()
        .map(|line| format!("@cert-authority {line}\n"))
        .collect();
    simple.world.write("known_hosts", &authority);
    let error = refusal(&simple.options).await;
    let is_authority = matches!(host_key_error(&error), HostKeyError::OnlyAuthority { .. });
    assert!(is_authority, "{}", chain(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_key_needs_no_file_and_allows_no_other() {
    let Some(mut simple) = simple("") else { return };
    simple.world.write("known_hosts", "");
    simple.options.pinned = vec![simple.sshd.host_keys[0].parse().unwrap()];
    connect("dev", &simple.options, &cat()).await.unwrap();
    let stranger = simple.world.plain_key("stranger");
    let other = fs::read_to_string(stranger.with_extension("pub")).unwrap();
    simple
        .world
        .write("known_hosts", &simple.sshd.known_hosts());
    simple.options.pinned = vec![other.parse().unwrap()];
    let error = refusal(&simple.options).await;
    assert!(
        matches!(host_key_error(&error), HostKeyError::NotPinned { .. }),
        "{}",
        chain(&error)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_an_rsa_key_only_is_told_what_it_lacks() {
    let Some(world) = world() else { return };
    let rsa = world.key("h", &["-t", "rsa", "-b", "2048", "-N", ""]);
    let key = world.plain_key("id");
    let sshd = world.sshd_with("dev", &[rsa], &[&key], "");
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let error = refusal(&options(&world, &block)).await;
    assert!(
        chain(&error).contains("has no host key that lkc checks, only rsa-sha2-512"),
        "{}",
        chain(&error)
    );
    assert!(
        error.hints()[0].contains("ssh-keygen -A"),
        "{:?}",
        error.hints()
    );
}
