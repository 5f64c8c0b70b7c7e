//! Forwards: what a client sees of them is what it would see of the target itself.

use std::{
    hash::{DefaultHasher, Hasher},
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use insta::assert_snapshot;
use lkc_tests::{TestEnv, User, eventually, loopbacks};
use nix::sys::signal::Signal;

use crate::{PROGRAMS, can_be, env_with_cluster, has_kubectl};

/// Bytes of the big transfer, each way.
const BIG: usize = 64 * 1024 * 1024;

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn forwards_are_added_listed_and_removed() {
    let env = env_with_cluster(&[]);
    let (port, other) = (env.spare_port(0), env.spare_port(1));
    env.run(&[
        "forward",
        &format!("db={port}:5432"),
        &format!("{other}:10.43.0.20:80"),
    ])
    .succeeds();
    let list = env.run(&["forward"]).succeeds();
    assert_snapshot!(columns(&list.redacted_stdout()), @"
    FORWARD PROTOCOL LISTENS ON GUEST STATE OPEN PARKED TOTAL REFUSED FAILED DROPPED SENT RECEIVED LAST ERROR
    api tcp 127.0.0.1:$API,[::1]:$API 127.0.0.1:6443 listening 0 0 0 0 0 0 0 0
    http tcp 127.0.0.1:$HTTP,[::1]:$HTTP 127.0.0.1:80 listening 0 0 0 0 0 0 0 0
    https tcp 127.0.0.1:$HTTPS,[::1]:$HTTPS 127.0.0.1:443 listening 0 0 0 0 0 0 0 0
    ssh tcp 127.0.0.1:$SSH,[::1]:$SSH 127.0.0.1:22 listening 0 0 0 0 0 0 0 0
    db tcp 127.0.0.1:$SPARE0,[::1]:$SPARE0 127.0.0.1:5432 listening 0 0 0 0 0 0 0 0
    port-$SPARE1 tcp 127.0.0.1:$SPARE1,[::1]:$SPARE1 10.43.0.20:80 listening 0 0 0 0 0 0 0 0
    [EOF]
    ");
    assert_eq!(
        env.run(&["forward", "--output", "json"])
            .succeeds()
            .json()
            .as_array()
            .unwrap()
            .len(),
        6
    );
    for address in loopbacks() {
        TcpStream::connect((address, port)).unwrap();
    }
    env.run(&["forward", &format!("{port}:1")]).exits(7);
    env.run(&["forward", "rm", "db", &other.to_string()])
        .succeeds();
    TcpStream::connect(("127.0.0.1", port)).expect_err("it is removed");
    env.run(&["forward", "--remove", "db"]).exits(3);
    assert_eq!(
        env.run(&["forward", "--output", "json"])
            .succeeds()
            .json()
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn a_check_goes_through_the_listeners_and_names_the_layer_that_fails() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_with_cluster(&[]);
    let (tcp, udp) = (env.spare_port(0), env.spare_port(1));
    let (socks, denied) = (env.spare_port(2), env.spare_port(3));
    let specs = [
        format!("db={tcp}:7000"),
        "sock=unix:db.sock:7000".to_owned(),
        format!("dns={udp}:7053/udp"),
        format!("{socks}/socks"),
        format!("no={denied}:169.254.169.254:80"),
    ];
    let mut add = vec!["forward", "add"];
    add.extend(specs.iter().map(String::as_str));
    env.run(&add).succeeds();
    let check = |arguments: &[&str]| {
        let outcome = env.run(&[&["forward", "check", "--output", "json"], arguments].concat());
        let code = outcome.exit_code();
        let checks = match code {
            0 => outcome.succeeds().json(),
            code => outcome.exits(code).json(),
        };
        (code, checks)
    };
    let verdict = |name: &str| {
        let (code, checks) = check(&[name]);
        let checks = checks.as_array().unwrap().clone();
        for check in &checks {
            assert_eq!(check["ok"] == true, code == 0, "{check:#}");
            assert_eq!(check["layer"], checks[0]["layer"], "{check:#}");
        }
        let layer = checks[0]["layer"].as_str().unwrap_or("-").to_owned();
        let detail = checks[0]["detail"].as_str().unwrap().to_owned();
        (checks.len(), layer, detail)
    };
    let both = loopbacks().len();
    let refused = |port| format!("127.0.0.1:{port}: connection refused");
    assert_eq!(verdict("db"), (both, "target".to_owned(), refused(7000)));
    assert_eq!(verdict("sock"), (1, "target".to_owned(), refused(7000)));
    assert_eq!(verdict("dns"), (both, "target".to_owned(), refused(7053)));
    let why = "169.254.169.254:80 is neither this node nor one of its pods or services";
    assert_eq!(verdict("no"), (both, "agent".to_owned(), why.to_owned()));
    // Nothing of it is counted as a client's.
    let list = env.run(&["forward", "ls", "--output", "json"]);
    let list = list.succeeds().json();
    assert_eq!(
        (&list[4]["total"], &list[4]["refused"]),
        (&0.into(), &0.into())
    );

    let _listener = env.listen_in("k3s-dev", "127.0.0.1:7000");
    let _server = env.udp_in("k3s-dev", "127.0.0.1:7053");
    for name in ["db", "sock", "dns", &format!("socks-{socks}"), "api"] {
        assert_eq!(verdict(name).1, "-", "{name}: {:?}", verdict(name));
    }
    assert_eq!(check(&[]).0, 4, "not every one leads somewhere");
    env.run(&["forward", "check", "nothing"]).exits(3);

    // Without an agent there is no way to the guest.
    let machine = env.machine("k3s-dev");
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    machine.signal(Signal::SIGSTOP);
    agent.signal(Signal::SIGKILL);
    eventually("the link is down", PATIENCE, || {
        (env.status("k3s-dev")["link"]["state"] != "up").then_some(())
    });
    assert_eq!(verdict("db").1, "carrier");
    machine.signal(Signal::SIGCONT);
}

#[test]
fn a_forward_to_nobody_is_reset_and_never_an_empty_success() {
    let env = env_with_cluster(&[]);
    let error = connect(env.ports(0).http).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let forward = env.status("k3s-dev")["forwards"][1].clone();
    assert_eq!(
        (&forward["refused"], &forward["open"]),
        (&1.into(), &0.into()),
        "{forward:#}"
    );
    assert_snapshot!(forward["last_error"].as_str().unwrap(), @"target: 127.0.0.1:80: connection refused");
    // Not everything may be reached: the host has no business in the guest's link-local range.
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}:169.254.169.254:80")])
        .succeeds();
    let error = connect(port).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_snapshot!(env.status("k3s-dev")["forwards"][4]["last_error"].as_str().unwrap(), @"agent: 169.254.169.254:80 is neither this node nor one of its pods or services");
}

#[test]
fn a_big_transfer_arrives_whole_in_both_directions() {
    big_transfer(&["up"]);
}

#[test]
fn a_big_transfer_arrives_whole_over_an_encrypted_link() {
    big_transfer(&["up", "--encrypt"]);
}

#[track_caller]
fn big_transfer(up: &[&str]) {
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_of(up);
    let server = serve(env.listen_in("k3s-dev", "127.0.0.1:7000"), 1);
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}:7000")]).succeeds();
    let mut client = connect(port);
    let sent = send(&mut client, b'c', BIG);
    client.shutdown(Shutdown::Write).unwrap();
    let received = receive(&mut client);
    let (server_received, server_sent) = server.join().unwrap();
    assert_eq!(server_received, sent, "what the client sent");
    assert_eq!(
        received, server_sent,
        "what the server sent after the client's end"
    );
    let list = env.run(&["forward", "--output", "json"]).succeeds().json();
    assert_eq!(list[4]["sent_bytes"], BIG);
    assert_eq!(list[4]["received_bytes"], BIG);
    eventually("no connection is open", PATIENCE, || {
        (env.status("k3s-dev")["forwards"][4]["open"] == 0).then_some(())
    });
}

/// The connection is the daemon's own by then: the agent has handed it over.
#[test]
fn a_connection_survives_the_agent() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_with_cluster(&[]);
    let listener = env.listen_in("k3s-dev", "127.0.0.1:7000");
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}:7000")]).succeeds();
    let mut client = connect(port);
    let (mut server, _) = listener.accept().unwrap();
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    agent.signal(Signal::SIGKILL);
    eventually("another agent is connected", PATIENCE, || {
        (env.status("k3s-dev")["link"]["connects"] == 2).then_some(())
    });
    let mut word = [0; 5];
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    server.write_all(b"world").unwrap();
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"world");
}

/// Nobody reads from one connection; others go on.
#[test]
fn a_reader_that_stalls_delays_nobody() {
    stalled_reader(&["up"]);
}

#[test]
fn a_reader_that_stalls_delays_nobody_on_an_encrypted_link() {
    stalled_reader(&["up", "--encrypt"]);
}

#[track_caller]
fn stalled_reader(up: &[&str]) {
    if !has_kubectl() {
        return;
    }
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_of(up);
    let listener = env.listen_in("k3s-dev", "127.0.0.1:7000");
    let flood = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let block = [0; 64 * 1024];
        while stream.write_all(&block).is_ok() {}
    });
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}:7000")]).succeeds();
    let stalled = connect(port);
    eventually("the stream is full", PATIENCE, || {
        let bytes = || env.status("k3s-dev")["forwards"][4]["received_bytes"].as_u64();
        let before = bytes()?;
        (before > 0 && bytes()? == before).then_some(())
    });
    for _ in 0..5 {
        env.kubectl("k3s-dev", ["get", "nodes", "--request-timeout", "10s"])
            .run()
            .succeeds();
    }
    drop(stalled);
    flood.join().unwrap();
}

#[test]
fn a_connection_made_while_the_agent_is_away_is_parked() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    // With its first process stopped the machine starts no other agent.
    let machine = env.machine("k3s-dev");
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    machine.signal(Signal::SIGSTOP);
    agent.signal(Signal::SIGKILL);
    eventually("the link is down", PATIENCE, || {
        (env.status("k3s-dev")["link"]["state"] != "up").then_some(())
    });
    let status = env.status("k3s-dev");
    assert_ne!(
        crate::step(&status, "node")["state"],
        "ready",
        "stale: {status:#}"
    );

    let lost = connect(env.ports(0).https);
    let kept = env.kubectl("k3s-dev", ["get", "nodes"]).spawn();
    let parked = |forward: usize| env.status("k3s-dev")["forwards"][forward]["parked"].as_u64();
    eventually("both connections are parked", PATIENCE, || {
        (parked(0) >= Some(1) && parked(2) == Some(1)).then_some(())
    });
    // Ten seconds later nobody waits for the first one any more.
    let error = { lost }.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_snapshot!(env.status("k3s-dev")["forwards"][2]["last_error"].as_str().unwrap(), @"carrier: no link to the guest within 10000 ms");
    machine.signal(Signal::SIGCONT);
    let kept = kept.finish().succeeds();
    kept.prints(" Ready ");
    env.run(&["wait", "--for", "node", "--timeout", "30s"])
        .succeeds();
}

#[test]
fn a_connection_waits_for_an_agent_that_is_slow() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    agent.signal(Signal::SIGSTOP);
    let nodes = env.kubectl("k3s-dev", ["get", "nodes"]).spawn();
    eventually("it is connected", PATIENCE, || {
        (env.status("k3s-dev")["forwards"][0]["open"].as_u64() >= Some(1)).then_some(())
    });
    assert!(nodes.is_alive());
    agent.signal(Signal::SIGCONT);
    nodes.finish().succeeds().prints(" Ready ");
}

/// A cluster that was brought up so. On an encrypted link every byte travels as a stream's, on
/// another connections are handed over.
#[track_caller]
fn env_of(up: &[&str]) -> TestEnv {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    env.run(up).succeeds();
    env
}

#[track_caller]
fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Takes connections one after the other: reads each to its end, then answers. The checksums of
/// what was received and sent last.
fn serve(listener: TcpListener, connections: usize) -> JoinHandle<(u64, u64)> {
    thread::spawn(move || {
        let mut last = (0, 0);
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            last.0 = receive(&mut stream);
            last.1 = send(&mut stream, b's', BIG);
        }
        last
    })
}

/// Sends bytes that no two blocks of are alike, and returns their checksum.
fn send(stream: &mut TcpStream, seed: u8, count: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut state = u64::from(seed) + 1;
    let mut block = vec![0; 64 * 1024];
    for _ in 0..count / block.len() {
        for bytes in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.copy_from_slice(&state.to_le_bytes());
        }
        for byte in &block {
            hasher.write_u8(*byte);
        }
        stream.write_all(&block).unwrap();
    }
    hasher.finish()
}

/// Receives to the end, and returns the checksum.
fn receive(stream: &mut TcpStream) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut block).unwrap();
        if count == 0 {
            return hasher.finish();
        }
        for byte in &block[..count] {
            hasher.write_u8(*byte);
        }
    }
}

/// A table without the widths of its columns, which depend on the ports.
fn columns(table: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}
