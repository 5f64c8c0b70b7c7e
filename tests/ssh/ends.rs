//! Connections that end, and servers that stop answering.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::*;

/// What a counting server sends: its position decides every byte.
fn byte_at(position: usize) -> u8 {
    (position.wrapping_mul(2_654_435_761) >> 13) as u8
}

/// A socket that sends for ever.
fn endless_socket(path: &Path) -> (PathBuf, JoinHandle<()>) {
    let listener = UnixListener::bind(path).unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut position = 0;
        loop {
            let piece: Vec<u8> = (position..position + 65_536).map(byte_at).collect();
            if stream.write_all(&piece).await.is_err() {
                return;
            }
            position += piece.len();
        }
    });
    (path.to_owned(), serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_gives_an_exact_prefix_and_an_error() {
    let Some(simple) = simple("") else { return };
    let (socket, serving) = endless_socket(&simple.world.path("endless.sock"));
    let mut stream = connect("dev", &simple.options, &Destination::Unix(socket))
        .await
        .unwrap();
    let mut position = 0;
    let mut buffer = vec![0; 100_000];
    let end = loop {
        let read = timeout(LIMIT, stream.read(&mut buffer))
            .await
            .expect("it ends");
        match read {
            Ok(0) => panic!("a clean end after {position} bytes"),
            Ok(count) => {
                let is_right = buffer[..count]
                    .iter()
                    .enumerate()
                    .all(|(offset, byte)| *byte == byte_at(position + offset));
                assert!(is_right, "changed after {position} bytes");
                if position < 10_000_000 && position + count >= 10_000_000 {
                    for session in simple.sshd.sessions() {
                        session.signal(Signal::SIGKILL);
                    }
                }
                position += count;
            }
            Err(error) => break error,
        }
    };
    assert!(position >= 10_000_000, "{position}");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionAborted, "{end}");
    timeout(LIMIT, serving)
        .await
        .expect("the other end ends")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writing_to_a_killed_connection_fails() {
    let Some(simple) = simple("") else { return };
    let mut stream = connect("dev", &simple.options, &cat()).await.unwrap();
    for session in simple.sshd.sessions() {
        session.signal(Signal::SIGKILL);
    }
    let writing = async {
        loop {
            if let Err(error) = stream.write_all(&[7; 10_000]).await {
                return error;
            }
        }
    };
    timeout(LIMIT, writing).await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_answering_is_found_within_ten_seconds() {
    let Some(simple) = simple("") else { return };
    let mut stream = connect("dev", &simple.options, &cat()).await.unwrap();
    let sessions = simple.sshd.sessions();
    assert!(!sessions.is_empty());
    for session in &sessions {
        session.signal(Signal::SIGSTOP);
    }
    let since = Instant::now();
    let error = timeout(LIMIT, stream.read_u8())
        .await
        .expect("it ends")
        .unwrap_err();
    let took = since.elapsed();
    assert!(took < Duration::from_secs(11), "{took:?}");
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted,
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_taking_bytes_is_found_as_well() {
    let Some(simple) = simple("") else { return };
    let mut stream = connect("dev", &simple.options, &cat()).await.unwrap();
    for session in simple.sshd.sessions() {
        session.signal(Signal::SIGSTOP);
    }
    let since = Instant::now();
    let writing = async { while stream.write_all(&[7; 30_000]).await.is_ok() {} };
    timeout(LIMIT, writing).await.expect("it ends");
    let took = since.elapsed();
    assert!(took < Duration::from_secs(14), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lets_go_of_a_stream_leaves_nothing_even_if_the_server_hangs() {
    let Some(simple) = simple("") else { return };
    let mut stream = connect("dev", &simple.options, &cat()).await.unwrap();
    let sessions = simple.sshd.sessions();
    for session in &sessions {
        session.signal(Signal::SIGSTOP);
    }
    // The transport is full, so that nothing can be said for goodbye.
    let full = async { while stream.write_all(&[7; 30_000]).await.is_ok() {} };
    let _ = timeout(Duration::from_secs(1), full).await;
    drop(stream);
    lkc_tests::eventually("our end of the connection is closed", LIMIT, || {
        (!is_connected(simple.sshd.port)).then_some(())
    });
}

/// Whether this process has a connection to the port of 127.0.0.1.
fn is_connected(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    // 01 is an established connection; one that we closed is in another state.
    table.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(2) == Some(&remote) && fields.next() == Some("01")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_never_answers_is_given_up() {
    let Some(world) = world() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let block = format!("Host dev\n  HostName 127.0.0.1\n  Port {port}\n  ConnectTimeout 1\n");
    let since = Instant::now();
    let error = refusal(&options(&world, &block)).await;
    assert!(
        chain(&error).ends_with(&format!(
            "127.0.0.1:{port} took more than 1 s to exchange keys"
        )),
        "{}",
        chain(&error)
    );
    assert!(since.elapsed() < Duration::from_secs(8));
    drop(listener);
    let error = refusal(&options(&world, &block)).await;
    assert!(error.is_absent(), "{}", chain(&error));
}
