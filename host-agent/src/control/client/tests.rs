//! Starting a daemon that is none: what it said is told.

use std::{ffi::OsString, fs, os::unix::fs::PermissionsExt, time::Duration};

use tokio::{net::UnixListener, time::timeout};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn paths(home: &Path) -> Paths {
    let lookup = |name: &str| match name {
        "HOME" => Some(OsString::from(home)),
        "XDG_RUNTIME_DIR" => Some(home.join("run").into_os_string()),
        _ => None,
    };
    Paths::from_env(&lookup, nix::unistd::geteuid().as_raw()).unwrap()
}

fn program(home: &Path, script: &str) -> PathBuf {
    let path = home.join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn without_a_daemon_there_is_none_to_be_found() {
    let home = tempfile::tempdir().unwrap();
    let error = Client::connect_existing(&paths(home.path()))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.to_string().as_str()),
        (Kind::NotFound, "no daemon runs")
    );
}

#[tokio::test]
async fn a_daemon_that_does_not_start_is_told_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let program = program(home.path(), "echo the disk is on fire >&2; exit 3");
    let error = Client::connect_or_start(&paths(home.path()), &program)
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::HostIo);
    assert_eq!(error.to_string(), "the daemon ended before it was ready");
    assert_eq!(error.tail, ["the disk is on fire"]);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let home = tempfile::tempdir().unwrap();
    let error = Client::connect_or_start(&paths(home.path()), Path::new("/nonexistent/lkc-host"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::HostIo);
    assert!(
        error
            .to_string()
            .starts_with("cannot start /nonexistent/lkc-host: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_daemon_starts_with_its_command_and_is_believed_when_it_says_ready() {
    let home = tempfile::tempdir().unwrap();
    let script = r#"echo "$@" > "$(dirname "$0")/asked"; echo"#;
    let program = program(home.path(), script);
    Client::connect_or_start(&paths(home.path()), &program)
        .await
        .unwrap();
    assert_eq!(
        fs::read_to_string(home.path().join("asked")).unwrap(),
        "daemon run\n"
    );
}

#[tokio::test]
async fn a_daemon_that_dies_in_the_middle_leaves_a_clear_word() {
    let home = tempfile::tempdir().unwrap();
    let paths = paths(home.path());
    fs::create_dir_all(paths.runtime_dir()).unwrap();
    let listener = UnixListener::bind(paths.control_socket()).unwrap();
    let dying = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"{\"type\":\"log\",\"text\":\"one\"}\n{\"type\":")
            .await
            .unwrap();
    };
    let (replies, ()) = tokio::join!(call(&paths, Request::Daemon), dying);
    let mut replies = replies.unwrap();
    let first = timeout(LIMIT, replies.next()).await.expect("no reply");
    assert!(matches!(first, Ok(Reply::Log { text }) if text == "one"));
    let error = timeout(LIMIT, replies.next())
        .await
        .expect("no end")
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable);
}

#[tokio::test]
async fn an_endless_line_is_not_read_to_its_end() {
    let home = tempfile::tempdir().unwrap();
    let paths = paths(home.path());
    fs::create_dir_all(paths.runtime_dir()).unwrap();
    let listener = UnixListener::bind(paths.control_socket()).unwrap();
    let chatty = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    };
    let reading = async {
        let mut replies = call(&paths, Request::Daemon).await.unwrap();
        replies.next().await
    };
    let result = timeout(LIMIT, async {
        tokio::select! {
            result = reading => result,
            () = chatty => panic!("it was read to its end"),
        }
    });
    assert_eq!(result.await.expect("no end").unwrap_err().kind, Kind::Bug);
}
