//! Reverse forwards: programs in the guest reach what runs on this host, and nothing else of it.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::net::UnixListener,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use insta::assert_snapshot;
use lkc_protocol::{
    error::RefusalCode,
    identity::{Identity, PublicKey},
    link::{self, Encrypt, LinkOptions, RequestError},
    message::{Arrive, Dial, DialNetwork, Request},
    session::Limits,
};
use lkc_tests::{TestEnv, User, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{PROGRAMS, can_be};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a transfer.
const SOME: usize = 8 * 1024 * 1024;

/// A cluster that is up with these lines in its own table, as tables of their own.
fn env_with(tables: &str) -> TestEnv {
    let env = TestEnv::new(PROGRAMS);
    configure(&env, tables);
    env.run(&["up"]).succeeds();
    env
}

fn configure(env: &TestEnv, tables: &str) {
    let cluster = env.cluster("k3s-dev", 0, &[], "");
    env.configure(&format!("{cluster}\n{tables}"));
}

/// A reverse forward from port 5000 of the node to a port of this host.
fn registry(port: u16) -> String {
    format!(
        "[[cluster.k3s-dev.reverse]]\nname = \"registry\"\nguest = 5000\nhost = {port}\nbind = \"node\"\n"
    )
}

/// The node's address and the guest port of [`registry`].
const REGISTRY: &str = "192.100.0.10:5000";

/// Listens on a spare port of the environment, of this host.
fn listen(env: &TestEnv, spare: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", env.spare_port(spare))).unwrap()
}

/// Reads one connection to its end, then sends as much back.
fn serve(server: TcpListener) -> JoinHandle<usize> {
    thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&vec![b's'; SOME]).unwrap();
        received.len()
    })
}

#[track_caller]
fn connect(env: &TestEnv, address: &str) -> TcpStream {
    let stream = env.connect_in("k3s-dev", address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn reverse(env: &TestEnv) -> Value {
    env.status("k3s-dev")["reverse"][0].clone()
}

fn until_listening(env: &TestEnv) {
    eventually("the guest listens", PATIENCE, || {
        (reverse(env)["state"] == "listening").then_some(())
    });
}

#[test]
fn a_program_in_the_guest_reaches_a_server_of_this_host() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    let server = serve(listen(&env, 0));
    configure(&env, &registry(env.spare_port(0)));
    let up = env.run(&["up"]).succeeds();
    up.prints("registry    192.100.0.10:5000 of the guest → 127.0.0.1:");
    let mut client = connect(&env, REGISTRY);
    client.write_all(&vec![b'c'; SOME]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert!(received.len() == SOME && received.iter().all(|&byte| byte == b's'));
    assert_eq!(server.join().unwrap(), SOME);
    eventually("no connection is open", PATIENCE, || {
        (reverse(&env)["open"] == 0).then_some(())
    });
    let list = env.run(&["forward"]).succeeds();
    let table = list.redacted_stdout();
    let table = table.split_once("\n\n").unwrap().1;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_snapshot!(table.lines().map(words).collect::<Vec<_>>().join("\n"), @"
REVERSE GUEST LISTENS ON HOST STATE OPEN TOTAL FAILED SENT RECEIVED LAST ERROR
registry 192.100.0.10:5000 127.0.0.1:$SPARE0 listening 0 1 0 8.0 MiB 8.0 MiB
[EOF]
");
    let entry = env.run(&["forward", "--output", "json"]).succeeds().json()[4].clone();
    assert_eq!(entry["reverse"], true, "{entry:#}");
    assert_eq!(
        (&entry["sent_bytes"], &entry["received_bytes"]),
        (&SOME.into(), &SOME.into())
    );
    // Only where it was said: not on the guest's loopback, and no other port of this host.
    env.connect_in("k3s-dev", "127.0.0.1:5000").unwrap_err();
}

#[test]
fn a_target_that_is_down_is_a_reset_and_never_an_empty_success() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    configure(&env, &registry(env.spare_port(0)));
    env.run(&["up"]).succeeds();
    until_listening(&env);
    let error = connect(&env, REGISTRY).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let shown = reverse(&env);
    assert_eq!(
        (&shown["total"], &shown["refused"], &shown["open"]),
        (&1.into(), &1.into(), &0.into())
    );
    let error = shown["last_error"].as_str().unwrap();
    let error = error.replace(&env.spare_port(0).to_string(), "$SPARE0");
    assert_snapshot!(error, @"target: 127.0.0.1:$SPARE0: connection refused");
    // As soon as it is there it is reached.
    let server = serve(listen(&env, 0));
    let client = connect(&env, REGISTRY);
    client.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    { client }.read_to_end(&mut received).unwrap();
    assert_eq!((received.len(), server.join().unwrap()), (SOME, 0));
}

#[test]
fn a_unix_socket_of_this_host_is_reached() {
    if !can_be(User::Nobody) {
        return;
    }
    let env =
        env_with("[[cluster.k3s-dev.reverse]]\nguest = 5000\nhost = \"unix:registry.sock\"\n");
    until_listening(&env);
    let socket = env.work().join("registry.sock");
    let server = UnixListener::bind(&socket).unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(b"pong").unwrap();
        word
    });
    let mut client = connect(&env, "127.0.0.1:5000");
    client.write_all(b"ping").unwrap();
    let mut word = [0; 4];
    client.read_exact(&mut word).unwrap();
    assert_eq!((&word, &served.join().unwrap()), (b"pong", b"ping"));
    fs::remove_file(socket).unwrap();
}

#[test]
fn a_listener_is_back_with_the_link() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    let server = listen(&env, 0);
    configure(&env, &registry(env.spare_port(0)));
    env.run(&["up"]).succeeds();
    until_listening(&env);
    greets(&env, &server);
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    agent.signal(Signal::SIGKILL);
    eventually("another link stands", PATIENCE, || {
        (env.status("k3s-dev")["link"]["connects"].as_u64() >= Some(2)).then_some(())
    });
    until_listening(&env);
    greets(&env, &server);
    assert_eq!(reverse(&env)["total"], 2, "it goes on being counted");

    // And so it is with another daemon.
    let mut standing = connect(&env, REGISTRY);
    let _served = server.accept().unwrap();
    env.daemon().signal(Signal::SIGKILL);
    let error = standing.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    env.run(&["status"]).succeeds();
    until_listening(&env);
    greets(&env, &server);
}

/// A connection from the guest to the server and a word back.
#[track_caller]
fn greets(env: &TestEnv, server: &TcpListener) {
    let mut client = connect(env, REGISTRY);
    let (mut served, _) = server.accept().unwrap();
    served.write_all(b"hello").unwrap();
    let mut word = [0; 5];
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
}

#[test]
fn a_port_that_somebody_has_in_the_guest_is_said_and_asked_for_again() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_with("");
    let taken = env.listen_in("k3s-dev", "127.0.0.1:5000");
    let argument = format!("5000:{}", env.spare_port(0));
    env.run(&["up", "--reverse", &argument]).succeeds();
    eventually("it has failed", PATIENCE, || {
        (reverse(&env)["state"] == "failed").then_some(())
    });
    assert_snapshot!(reverse(&env)["last_error"].as_str().unwrap(), @"agent: 127.0.0.1:5000 is in use in the guest; end what listens there, or give the reverse forward another port");
    drop(taken);
    until_listening(&env);
    assert_eq!(reverse(&env)["last_error"], Value::Null);
    let server = listen(&env, 0);
    let _client = connect(&env, "127.0.0.1:5000");
    server.accept().unwrap();
    // It lasts as long as it is said.
    env.run(&["up"]).succeeds();
    assert_eq!(env.status("k3s-dev")["reverse"], Value::Array(Vec::new()));
    eventually("nobody listens there", PATIENCE, || {
        env.connect_in("k3s-dev", "127.0.0.1:5000").err()
    });
}

/// The agent is put aside, and the test takes its place with its key: a guest that does what it
/// likes.
#[test]
fn a_hostile_guest_reaches_nothing_that_it_was_not_asked_for() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    let server = listen(&env, 0);
    server.set_nonblocking(true).unwrap();
    configure(&env, &registry(env.spare_port(0)));
    env.run(&["up"]).succeeds();
    until_listening(&env);
    let machine = env.machine("k3s-dev");
    let key = format!("/proc/{}/root/etc/lkc/identity.pem", machine.pid);
    let guest = Identity::from_pem(&fs::read_to_string(key).unwrap()).unwrap();
    let host: PublicKey = host_key(&env);
    // With its first process stopped the machine starts no other agent.
    machine.signal(Signal::SIGSTOP);
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    agent.signal(Signal::SIGKILL);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = env.runtime_dir().join("k3s-dev/agent.sock");
        fs::remove_file(&socket).unwrap();
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let (carrier, _) = soon(listener.accept()).await.unwrap();
        let options = LinkOptions {
            identity: Arc::new(guest),
            version: "6.6.6".into(),
            node: "k3s-dev".into(),
            boot_id: [7; 16],
            encrypt: Encrypt::Auto,
            locality: link::Locality::Local,
            limits: Limits::default(),
        };
        let authorized = [host];
        let (link, _asked, driver) = soon(link::accept(carrier, &authorized, &options))
            .await
            .unwrap();
        let driving = tokio::spawn(driver.run());
        // It answers nothing that it is asked, so it has been asked for no listener.
        for listen in [0, 1, 2, 3, u32::MAX] {
            denied(&link, &Arrive { listen }).await;
        }
        let dial = Dial {
            network: DialNetwork::Tcp,
            host: "127.0.0.1".to_owned(),
            port: env.spare_port(0),
        };
        denied(&link, &dial).await;
        assert_eq!(env.status("k3s-dev")["link"]["denied"], 6);
        link.close();
        let _ = soon(driving).await;
    });
    let error = server.accept().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "it was connected to");
    env.run(&["status", "k3s-dev"])
        .succeeds()
        .prints("requests of the guest denied: 6");
    env.run(&["logs", "--source", "daemon"])
        .succeeds()
        .prints("the guest asks for what nobody here has named: Arrive(Arrive { listen: 0 })");
    machine.signal(Signal::SIGCONT);
    until_listening(&env);
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

async fn denied(link: &link::Link, request: &impl Request) {
    match soon(link.request(request)).await {
        Err(RequestError::Refused(refusal)) => assert_eq!(refusal.code, RefusalCode::Denied),
        other => panic!("{other:?}"),
    }
}

fn host_key(env: &TestEnv) -> PublicKey {
    let path = env.cluster_dir("k3s-dev").join("host.key");
    let identity = Identity::from_pem(&fs::read_to_string(path).unwrap());
    identity.unwrap().public_key()
}
