//! A SOCKS5 listener with a real link behind it.

use std::net::SocketAddr;

use super::{
    super::tests::{Bench, Guest, LIMIT, eventually},
    *,
};

const GREETING: [u8; 3] = [5, 1, 0];

async fn client(bench: &Bench, said: &[u8]) -> TcpStream {
    let mut tcp = TcpStream::connect(bench.address()).await.unwrap();
    tcp.write_all(said).await.unwrap();
    tcp
}

async fn read<const COUNT: usize>(tcp: &mut TcpStream) -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    let read = timeout(LIMIT, tcp.read_exact(&mut bytes)).await;
    read.expect("nothing came").unwrap();
    bytes
}

/// What comes until a clean end.
async fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(LIMIT, tcp.read_to_end(&mut bytes)).await;
    read.expect("no end").expect("a clean end");
    bytes
}

fn connect_to(address: [u8; 4], port: u16) -> Vec<u8> {
    let mut bytes = vec![5, 1, 0, 1];
    bytes.extend(address);
    bytes.extend(port.to_be_bytes());
    bytes
}

#[tokio::test]
async fn a_client_reaches_what_it_names_and_bytes_sent_early_arrive() {
    let mut bench = Bench::socks().await;
    bench.link(Guest::Echoes).await;
    let mut tcp = client(&bench, &GREETING).await;
    assert_eq!(read(&mut tcp).await, [5, 0]);
    let mut early = connect_to([10, 43, 0, 1], 80);
    early.extend(b"early");
    tcp.write_all(&early).await.unwrap();
    assert_eq!(read(&mut tcp).await, Reply::Succeeded.encode());
    tcp.write_all(b" and late").await.unwrap();
    tcp.shutdown().await.unwrap();
    assert_eq!(rest(&mut tcp).await, b"early and late");
    eventually(&bench, |status| status.open == 0).await;
    let status = bench.status();
    assert_eq!((status.total, status.failed, status.refused), (1, 0, 0));
    assert_eq!((status.sent_bytes, status.received_bytes), (14, 14));
    bench.close().await;
}

#[tokio::test]
async fn every_refusal_has_its_code() {
    use RefusalCode::{Busy, Denied, Invalid, NoRoute, Timeout, Unreachable, Unresolved};
    let mut bench = Bench::socks().await;
    for (code, reply, shown) in [
        (Denied, 2, "agent: no"),
        (Unreachable, 5, "target: no"),
        (NoRoute, 4, "target: no"),
        (Unresolved, 4, "target: no"),
        (Timeout, 6, "target: no"),
        (Invalid, 1, "agent: no"),
        (Busy, 1, "agent: no"),
    ] {
        bench.link(Guest::RefusesWith(code)).await;
        let mut tcp = client(&bench, &GREETING).await;
        assert_eq!(read(&mut tcp).await, [5, 0]);
        // More than is read: an end with bytes unread would be a reset.
        let mut request = connect_to([10, 43, 0, 1], 80);
        request.extend(b"early");
        tcp.write_all(&request).await.unwrap();
        tcp.shutdown().await.unwrap();
        let answer = rest(&mut tcp).await;
        assert_eq!(answer, [5, reply, 0, 1, 0, 0, 0, 0, 0, 0], "{code}");
        eventually(&bench, |status| status.open == 0).await;
        assert_eq!(bench.status().last_error.as_deref(), Some(shown), "{code}");
    }
    assert_eq!((bench.status().refused, bench.status().failed), (7, 0));
    bench.close().await;
}

#[tokio::test]
async fn what_is_not_served_is_told() {
    let bench = Bench::socks().await;
    for (request, expected) in [
        (&[5, 2, 1, 2][..], &[5, 0xff][..]),
        (
            &[5, 1, 0, 5, 2, 0, 1],
            &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
        ),
        (
            &[5, 1, 0, 5, 3, 0, 1],
            &[5, 0, 5, 7, 0, 1, 0, 0, 0, 0, 0, 0],
        ),
        (
            &[5, 1, 0, 5, 1, 0, 9],
            &[5, 0, 5, 8, 0, 1, 0, 0, 0, 0, 0, 0],
        ),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", b""),
    ] {
        let mut tcp = client(&bench, request).await;
        tcp.shutdown().await.unwrap();
        assert_eq!(rest(&mut tcp).await, expected, "{request:?}");
    }
    eventually(&bench, |status| status.open == 0).await;
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("host: the client does not speak SOCKS 5: its first byte is 71")
    );
    assert_eq!(bench.status().failed, 5);
    bench.close().await;
}

#[tokio::test]
async fn a_client_that_goes_within_its_request_is_let_go_of() {
    let bench = Bench::socks().await;
    let tcp = client(&bench, &[5]).await;
    eventually(&bench, |status| status.open == 1).await;
    drop(tcp);
    eventually(&bench, |status| status.open == 0).await;
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("host: the client ended within its request: early eof")
    );
    bench.close().await;
}

/// On a clock of the test's own, which jumps whenever nothing moves.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go_of() {
    let bench = Bench::socks().await;
    let silent = TcpStream::connect(bench.address()).await.unwrap();
    let ended = async {
        while bench.status().failed == 0 {
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    };
    timeout(DEADLINE * 2, ended)
        .await
        .expect("it is waited for");
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("host: the client said nothing of use within 10 s")
    );
    drop(silent);
    bench.close().await;
}

#[tokio::test]
async fn without_a_link_the_network_is_unreachable() {
    let bench = Bench::socks().await;
    let mut request = GREETING.to_vec();
    request.extend(connect_to([10, 43, 0, 1], 80));
    let mut tcp = client(&bench, &request).await;
    assert_eq!(read(&mut tcp).await, [5, 0]);
    eventually(&bench, |status| status.parked == 1).await;
    let address: SocketAddr = bench.address();
    bench.close().await;
    let answer: [u8; 10] = read(&mut tcp).await;
    assert_eq!(answer, Reply::NetworkUnreachable.encode());
    drop(tokio::net::TcpListener::bind(address).await.unwrap());
}
