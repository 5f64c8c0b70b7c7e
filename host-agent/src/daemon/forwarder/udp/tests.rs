//! UDP forwards with a real link behind them and real sockets before them.

use std::net::SocketAddr;

use lkc_protocol::datagram::MAX_DATAGRAM;
use tokio::time::timeout;

use super::{
    super::tests::{Bench, Guest, LIMIT, eventually},
    *,
};

/// As in earnest, but for a few clients.
fn limits(most: usize) -> UdpLimits {
    UdpLimits { most, idle: IDLE }
}

/// A client of the forward.
async fn client(bench: &Bench) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(bench.address()).await.unwrap();
    socket
}

async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; BUFFER];
    let received = timeout(LIMIT, client.recv(&mut buffer)).await;
    let length = received.expect("nothing came").unwrap();
    buffer.truncate(length);
    buffer
}

async fn echoed(client: &UdpSocket, datagram: &[u8]) {
    client.send(datagram).await.unwrap();
    assert!(receive(client).await == datagram, "the echo differs");
}

#[tokio::test]
async fn each_client_gets_its_own_answers_and_datagrams_keep_their_edges() {
    let mut bench = Bench::udp(limits(8)).await;
    bench.link(Guest::Echoes).await;
    let (one, other) = (client(&bench).await, client(&bench).await);
    one.send(b"one").await.unwrap();
    other.send(b"other").await.unwrap();
    assert_eq!(receive(&other).await, b"other");
    assert_eq!(receive(&one).await, b"one");
    for length in [0, 1, 512, 1472, 9000, MAX_DATAGRAM] {
        echoed(&one, &vec![7; length]).await;
    }
    let status = bench.status();
    assert_eq!((status.open, status.total, status.dropped), (2, 2, 0));
    let bytes = 3 + 5 + 1 + 512 + 1472 + 9000 + MAX_DATAGRAM as u64;
    assert_eq!((status.sent_bytes, status.received_bytes), (bytes, bytes));
    bench.close().await;
}

#[tokio::test]
async fn datagrams_wait_for_the_link_as_far_as_there_is_room() {
    let mut bench = Bench::udp(limits(8)).await;
    let client = client(&bench).await;
    let sent = WAITING + 5;
    for number in 0..sent {
        client.send(&[u8::try_from(number).unwrap()]).await.unwrap();
    }
    eventually(&bench, |status| status.dropped == 5 && status.parked == 1).await;
    bench.link(Guest::Echoes).await;
    for number in 0..WAITING {
        assert_eq!(receive(&client).await, [u8::try_from(number).unwrap()]);
    }
    bench.close().await;
}

#[tokio::test]
async fn a_link_that_is_lost_ends_associations_and_the_next_datagram_makes_new_ones() {
    let mut bench = Bench::udp(limits(8)).await;
    let link = bench.link(Guest::Echoes).await;
    let client = client(&bench).await;
    echoed(&client, b"before").await;
    link.close();
    eventually(&bench, |status| status.open == 0).await;
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("carrier: the link is down")
    );
    bench.link(Guest::Echoes).await;
    echoed(&client, b"after").await;
    assert_eq!(bench.status().total, 2);
    bench.close().await;
}

#[tokio::test]
async fn a_refusal_by_the_targets_system_is_counted_and_ends_nothing() {
    let mut bench = Bench::udp(limits(8)).await;
    bench.link(Guest::RefusesDatagrams).await;
    let client = client(&bench).await;
    for count in 1..=3 {
        client.send(b"anybody?").await.unwrap();
        eventually(&bench, |status| status.refused == count).await;
    }
    let status = bench.status();
    assert_eq!((status.open, status.total, status.failed), (1, 1, 0));
    assert_eq!(
        status.last_error.as_deref(),
        Some("target: 127.0.0.1:80: connection refused")
    );
    bench.close().await;
}

#[tokio::test]
async fn a_stream_without_room_drops_datagrams_and_delays_nobody() {
    let mut bench = Bench::udp(limits(8)).await;
    bench.link(Guest::Stalls).await;
    let flood = client(&bench).await;
    let block = vec![0; 32 * 1024];
    let flooded = async {
        while bench.status().dropped < 10 {
            flood.send(&block).await.unwrap();
        }
    };
    timeout(LIMIT, flooded).await.expect("nothing is dropped");
    // What went through is bounded by the stream's window and what it queues.
    assert!(bench.status().sent_bytes < 4 << 20);
    bench.link(Guest::Echoes).await;
    echoed(&client(&bench).await, b"not delayed").await;
    bench.close().await;
}

#[tokio::test]
async fn one_client_too_many_ends_the_oldest() {
    let mut bench = Bench::udp(limits(2)).await;
    bench.link(Guest::Echoes).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let client = client(&bench).await;
        echoed(&client, b"hello").await;
        clients.push(client);
    }
    eventually(&bench, |status| status.open == 2).await;
    assert_eq!(bench.status().failed, 0);
    // The evicted ones are served again all the same.
    for client in &clients {
        echoed(client, b"again").await;
    }
    bench.close().await;
}

#[tokio::test]
async fn a_silent_association_is_ended() {
    let idle = Duration::from_millis(20);
    let mut bench = Bench::udp(UdpLimits { most: 8, idle }).await;
    bench.link(Guest::Echoes).await;
    let client = client(&bench).await;
    echoed(&client, b"hello").await;
    eventually(&bench, |status| status.open == 0).await;
    assert_eq!(bench.status().failed, 0);
    echoed(&client, b"again").await;
    bench.close().await;
}

#[tokio::test]
async fn a_target_that_cannot_be_dialled_is_not_dialled_for_every_datagram() {
    let mut bench = Bench::udp(limits(8)).await;
    bench.link(Guest::Refuses).await;
    let client = client(&bench).await;
    for _ in 0..10 {
        client.send(b"hello").await.unwrap();
    }
    eventually(&bench, |status| status.refused == 1).await;
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("target: connection refused")
    );
    // Held down, then given up with all that had come for it.
    eventually(&bench, |status| status.open == 0 && status.dropped == 10).await;
    assert_eq!(bench.status().total, 1);
    bench.close().await;
}

#[tokio::test]
async fn closing_a_forward_frees_its_port_at_once() {
    let mut bench = Bench::udp(limits(8)).await;
    bench.link(Guest::Echoes).await;
    let client = client(&bench).await;
    echoed(&client, b"hello").await;
    let address: SocketAddr = bench.address();
    bench.close().await;
    drop(UdpSocket::bind(address).await.expect("the port is free"));
}
