//! A SOCKS5 listener into the cluster, used by a stock client.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use lkc_tests::{TestEnv, User, eventually, find_program, skipped};

use crate::{PROGRAMS, can_be, env_with_cluster};

/// An address of the range of services, where k3s' own proxy answers in a node.
const SERVICE: &str = "10.43.0.20";

/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn curl_reaches_what_the_policy_permits_and_is_told_why_not() {
    if !has("curl") || !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    let port = env.spare_port(0);
    env.configure_one(&[]);
    env.run(&["up", &format!("--socks={port}")]).succeeds();
    // The name is one of the guest, and so is the listener.
    let local = serve(env.listen_in("k3s-dev", "127.0.0.1:7000"));
    let said = curl(&env, port, "http://localhost:7000/");
    assert_eq!(said, (0, "hello from the guest[EOF]".to_owned()));
    local.join().unwrap();

    let forward = || env.status("k3s-dev")["forwards"][4].clone();
    for (host, target, reply, why) in [
        (
            [169, 254, 169, 254],
            80,
            2,
            "agent: 169.254.169.254:80 is neither this node nor one of its pods or services",
        ),
        (
            [127, 0, 0, 1],
            7001,
            5,
            "target: 127.0.0.1:7001: connection refused",
        ),
    ] {
        let [a, b, c, d] = host;
        let (code, _) = curl(&env, port, &format!("http://{a}.{b}.{c}.{d}:{target}/"));
        assert_eq!(code, 97, "curl's code for a refusal by its proxy");
        assert_eq!(reply_to(port, host, target), reply, "{host:?}");
        eventually("the reason is told", PATIENCE, || {
            (forward()["last_error"] == why).then_some(())
        });
    }
    let forward = forward();
    assert_eq!(
        (&forward["name"], &forward["protocol"], &forward["refused"]),
        (&"socks".into(), &"socks".into(), &4.into()),
        "{forward:#}"
    );
}

#[test]
fn curl_reaches_a_service() {
    if !has("curl") || !has("nsenter") || !has("ip") || !can_be(User::Nobody) {
        return;
    }
    let env = env_with_cluster(&[]);
    let port = env.spare_port(0);
    env.run(&["forward", &format!("{port}/socks")]).succeeds();
    let machine = env.machine("k3s-dev").pid.to_string();
    let address = format!("{SERVICE}/32");
    env.program("nsenter")
        .args(["-t", &machine, "-n", "ip", "address", "add", &address])
        .args(["dev", "lo"])
        .run()
        .succeeds();
    let service = serve(env.listen_in("k3s-dev", &format!("{SERVICE}:80")));
    let said = curl(&env, port, &format!("http://{SERVICE}/"));
    assert_eq!(said, (0, "hello from the guest[EOF]".to_owned()));
    service.join().unwrap();
}

fn has(program: &str) -> bool {
    let found = find_program(program).is_some();
    if !found {
        skipped(&format!("there is no {program} on PATH"));
    }
    found
}

/// Exit code and output of curl, which leaves names to the proxy.
fn curl(env: &TestEnv, port: u16, url: &str) -> (i32, String) {
    let proxy = format!("127.0.0.1:{port}");
    let outcome = env
        .program("curl")
        .args(["-s", "--max-time", "30", "--socks5-hostname", &proxy, url])
        .run();
    (outcome.exit_code(), outcome.redacted_stdout())
}

/// Answers one request.
fn serve(listener: TcpListener) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\n";
        write!(stream, "{head}hello from the guest").unwrap();
    })
}

/// The code of the reply to a request for this target, all of which is said at once.
fn reply_to(port: u16, host: [u8; 4], target: u16) -> u8 {
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut request = vec![5, 1, 0, 5, 1, 0, 1];
    request.extend(host);
    request.extend(target.to_be_bytes());
    request.extend(b"GET / HTTP/1.1");
    client.write_all(&request).unwrap();
    let mut reply = [0; 12];
    client.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..3], [5, 0, 5]);
    reply[3]
}
