//! Forwards from unix sockets of the host.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
    time::Duration,
};

use insta::assert_snapshot;
use lkc_tests::{TestEnv, User, eventually};

use crate::{PROGRAMS, can_be, env_with_cluster};

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_unix_socket_leads_into_the_guest_and_is_the_users_own() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    let path = env.work().join("pg.sock");
    // What a daemon that was killed would have left.
    drop(UnixListener::bind(&path).unwrap());
    let forward = "[[cluster.k3s-dev.forward]]\nhost = \"unix:pg.sock\"\nguest = 7000\n";
    env.configure(&(env.cluster("k3s-dev", 0, &[], "") + forward));
    env.run(&["up"]).succeeds();
    let mode = path.symlink_metadata().unwrap();
    assert!(mode.file_type().is_socket());
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);

    let listener = env.listen_in("k3s-dev", "127.0.0.1:7000");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        write!(stream, "{said}, said after its end").unwrap();
    });
    let mut client = connect(&path);
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello, said after its end");
    server.join().unwrap();
    eventually("the connection has ended", PATIENCE, || {
        let forward = env.status("k3s-dev")["forwards"][4].clone();
        (forward["open"] == 0 && forward["sent_bytes"] == 5).then_some(())
    });

    env.run(&["down"]).succeeds();
    assert!(!path.exists(), "the socket is left");
    // Up again, and the forward goes while the cluster stays.
    env.run(&["up"]).succeeds();
    env.run(&["forward", "--remove", "pg"]).succeeds();
    eventually("the socket is gone", PATIENCE, || {
        (!path.exists()).then_some(())
    });
}

#[test]
fn what_is_in_the_way_of_a_socket_is_left_alone() {
    let env = env_with_cluster(&[]);
    let taken = env.work().join("taken.sock");
    let alive = UnixListener::bind(&taken).unwrap();
    let outcome = env.run(&["forward", "unix:taken.sock:7000"]);
    assert_snapshot!(outcome.redacted_stderr(), @r"
    error: socket $ENV/project/taken.sock of forward taken is taken by another process

    hint: give the forward another socket, or end the process that has it
    [EOF]
    ");
    assert_eq!(outcome.exit_code(), 7);
    let notes = env.work().join("notes");
    std::fs::write(&notes, "mine").unwrap();
    let outcome = env.run(&["forward", "n=unix:notes:7000"]);
    assert_snapshot!(outcome.redacted_stderr(), @r"
    error: forward n cannot listen on unix:$ENV/project/notes: something is there that is no socket

    hint: move $ENV/project/notes away, or choose another path
    [EOF]
    ");
    assert_eq!(outcome.exit_code(), 11);
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "mine");
    let outcome = env.run(&["forward", "unix:missing/pg.sock:7000"]);
    assert_snapshot!(outcome.redacted_stderr(), @r"
    error: forward pg cannot listen on unix:$ENV/project/missing/pg.sock: No such file or directory (os error 2)

    hint: make the directory of the socket: lkc makes none
    [EOF]
    ");
    // The same socket twice is told before anything is bound.
    env.run(&["forward", "unix:pg.sock:7000"]).succeeds();
    let outcome = env.run(&["forward", "other=unix:pg.sock:7001"]);
    assert_snapshot!(outcome.redacted_stderr(), @r"
    error: socket $ENV/project/pg.sock is taken by forward pg of cluster k3s-dev

    hint: choose another one
    [EOF]
    ");
    assert_eq!(outcome.exit_code(), 7);
    connect(&env.work().join("pg.sock"));
    drop(alive);
    std::fs::remove_file(taken).unwrap();
}

#[track_caller]
fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}
