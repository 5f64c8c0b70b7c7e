//! Forwards over UDP: name servers answer through them, and what they lose is counted.

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    thread,
    time::Duration,
};

use lkc_tests::{TestEnv, User, eventually, loopbacks};

use crate::{can_be, env_with_cluster};

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name and the address that the name server of the tests knows.
const NAME: &str = "kubernetes.default.svc.cluster.local";
const ADDRESS: [u8; 4] = [10, 43, 0, 1];

#[test]
fn names_are_resolved_through_a_forward() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_with_cluster(&[]);
    let server = env.udp_in("k3s-dev", "127.0.0.1:53");
    let questions = 20 * loopbacks().len();
    let serving = thread::spawn(move || {
        let mut buffer = [0; 512];
        for _ in 0..questions {
            let (length, client) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&answer(&buffer[..length]), client).unwrap();
        }
    });
    let port = env.spare_port(0);
    env.run(&["forward", &format!("dns={port}:53/udp")])
        .succeeds();
    for address in loopbacks() {
        // As a resolver does: another port and another number for every question.
        let clients: Vec<_> = (0..20).map(|_| client(address, port)).collect();
        for (id, client) in clients.iter().enumerate() {
            let answered = ask(client, u16::try_from(id).unwrap());
            assert_eq!(answered, ADDRESS);
        }
    }
    serving.join().unwrap();
    let forward = status(&env);
    assert_eq!(
        (&forward["name"], &forward["protocol"], &forward["total"]),
        (&"dns".into(), &"udp".into(), &questions.into()),
        "{forward:#}"
    );
    assert_eq!(forward["dropped"], 0, "{forward:#}");
    // A port of UDP is not one of TCP.
    env.run(&["forward", &format!("{port}:53")]).succeeds();
    env.run(&["forward", &format!("{port}:54/udp")]).exits(7);
    env.run(&["forward", "--remove", "dns"]).succeeds();
    let freed = || UdpSocket::bind(("127.0.0.1", port)).ok();
    eventually("the port is free", PATIENCE, freed);
}

#[test]
fn a_refused_datagram_is_counted_and_a_target_that_comes_later_is_reached() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = env_with_cluster(&[]);
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}:7000/udp")])
        .succeeds();
    let client = client(loopbacks()[0], port);
    client.send(b"anybody?").unwrap();
    let refused = || (status(&env)["refused"] == 1).then_some(());
    eventually("the refusal is counted", PATIENCE, refused);
    assert_eq!(
        status(&env)["last_error"],
        "target: 127.0.0.1:7000: connection refused"
    );
    let server = env.udp_in("k3s-dev", "127.0.0.1:7000");
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let largest = vec![7; 65_507];
    for datagram in [&b"now?"[..], b"", &largest] {
        client.send(datagram).unwrap();
        let mut buffer = vec![0; 70_000];
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert!(buffer[..length] == *datagram, "{} bytes", datagram.len());
        server.send_to(&buffer[..length], from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert!(buffer[..length] == *datagram, "{} bytes", datagram.len());
    }
    assert_eq!(status(&env)["open"], 1);
}

#[test]
fn what_the_policy_denies_is_dropped_and_said() {
    let env = env_with_cluster(&[]);
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}:169.254.169.254:53/udp")])
        .succeeds();
    let client = client(loopbacks()[0], port);
    client.send(b"metadata?").unwrap();
    let refused = || (status(&env)["refused"] == 1).then_some(());
    eventually("the refusal is counted", PATIENCE, refused);
    assert_eq!(
        status(&env)["last_error"],
        "agent: 169.254.169.254:53 is neither this node nor one of its pods or services"
    );
    client
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let nothing = client.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}

/// How the forward that was added stands.
fn status(env: &TestEnv) -> serde_json::Value {
    env.status("k3s-dev")["forwards"][4].clone()
}

fn client(address: IpAddr, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.connect((address, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Asks for the address of the name, as RFC 1035 §4 has it.
fn ask(client: &UdpSocket, id: u16) -> [u8; 4] {
    let mut question = id.to_be_bytes().to_vec();
    // Recursion desired; one question, nothing else.
    question.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    // The root, type A, class IN.
    question.extend([0, 0, 1, 0, 1]);
    client.send(&question).unwrap();
    let mut buffer = [0; 512];
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(
        buffer[..2],
        id.to_be_bytes(),
        "the answer to another question"
    );
    assert_eq!(buffer[7], 1, "one answer");
    assert_eq!(buffer[12..question.len()], question[12..]);
    buffer[length - 4..length].try_into().unwrap()
}

/// The question again, and the address behind it.
fn answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
    // The name of the question, type A, class IN, a minute, four bytes.
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    answer.extend(ADDRESS);
    answer
}
