//! A stream of datagrams over a real link, and real sockets behind it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use lkc_protocol::{
    error::ResetCode,
    link::{Link, Pair, pair},
    message::{AnyRequest, Dial, DialNetwork, Dialled},
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    super::{Policy, dial_udp},
    *,
};

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// The host's end of a link whose guest dials, and every task of both ends.
struct Bench {
    link: Link,
    tasks: JoinSet<()>,
}

impl Bench {
    async fn new() -> Self {
        let Pair {
            host: (link, _),
            guest: (_, mut requests),
            drivers: mut tasks,
        } = pair().await.unwrap();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Some(request) = requests.next().await {
                let AnyRequest::Dial(target) = request.request().clone() else {
                    panic!("{request:?}");
                };
                let policy = Policy {
                    node_addresses: Vec::new(),
                    cluster_ranges: Vec::new(),
                };
                match dial_udp(&target, &policy).await {
                    Ok((socket, address)) => {
                        let address = address.to_string();
                        let stream = request.accept::<Dial>(&Dialled { address });
                        serving.spawn(async move {
                            relay(&socket, &stream).await;
                        });
                    }
                    Err(refusal) => request.refuse(&refusal),
                }
            }
            while serving.join_next().await.is_some() {}
        });
        Self { link, tasks }
    }

    async fn dial(&self, target: SocketAddr) -> Stream {
        let request = Dial {
            network: DialNetwork::Udp,
            host: target.ip().to_string(),
            port: target.port(),
        };
        let answer = timeout(LIMIT, self.link.request(&request)).await;
        let (dialled, stream) = answer.expect("no answer").unwrap();
        assert_eq!(dialled.address, target.to_string());
        stream
    }

    /// Ends the link, and waits until nothing of either end runs.
    async fn end(mut self) {
        self.link.close();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(LIMIT, ended).await.expect("a task is left");
    }
}

async fn target() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

async fn send(stream: &Stream, datagram: &[u8]) {
    let mut bytes = BytesMut::new();
    datagram::put(datagram, &mut bytes).unwrap();
    stream.halves().1.write(bytes.freeze()).await.unwrap();
}

/// The next items of a stream, this many.
async fn items(stream: &Stream, count: usize) -> Vec<Item> {
    let (mut decoder, mut items) = (Decoder::default(), Vec::new());
    while items.len() < count {
        let read = timeout(LIMIT, stream.halves().0.read()).await;
        let mut bytes = read.expect("nothing came").unwrap().expect("no end");
        while let Some(item) = decoder.next(&mut bytes).unwrap() {
            items.push(item);
        }
    }
    items
}

#[tokio::test]
async fn datagrams_keep_their_edges_and_come_from_one_port() {
    let bench = Bench::new().await;
    let (socket, address) = target().await;
    let stream = bench.dial(address).await;
    let lengths = [0, 1, 1472, datagram::MAX_DATAGRAM];
    let mut client = None;
    for length in lengths {
        send(&stream, &vec![7; length]).await;
        let mut buffer = vec![0; BUFFER];
        let received = timeout(LIMIT, socket.recv_from(&mut buffer)).await;
        let (count, from) = received.expect("nothing came").unwrap();
        assert_eq!(count, length);
        assert_eq!(*client.get_or_insert(from), from, "another port");
        socket.send_to(&buffer[..count], from).await.unwrap();
        let expected = Item::Datagram(Bytes::from(vec![7; length]));
        assert!(items(&stream, 1).await == [expected], "{length} bytes");
    }
    bench.end().await;
}

#[tokio::test]
async fn a_refusal_by_the_targets_system_is_told_and_ends_nothing() {
    let bench = Bench::new().await;
    let (socket, address) = target().await;
    drop(socket);
    let stream = bench.dial(address).await;
    send(&stream, b"anybody?").await;
    assert_eq!(items(&stream, 1).await, [Item::Refused]);
    let socket = UdpSocket::bind(address).await.unwrap();
    send(&stream, b"now?").await;
    let mut buffer = [0; 16];
    let received = timeout(LIMIT, socket.recv_from(&mut buffer)).await;
    let (count, _) = received.expect("the socket is of no more use").unwrap();
    assert_eq!(buffer[..count], *b"now?");
    bench.end().await;
}

#[tokio::test]
async fn a_host_that_reads_nothing_costs_datagrams_and_not_memory() {
    let bench = Bench::new().await;
    let (socket, address) = target().await;
    let stream = bench.dial(address).await;
    send(&stream, b"hello").await;
    let mut buffer = vec![0; 60_000];
    let (_, client) = socket.recv_from(&mut buffer).await.unwrap();
    // Many times what the stream's window and queue have room for.
    for _ in 0..500 {
        socket.send_to(&buffer, client).await.unwrap();
        tokio::task::yield_now().await;
    }
    // The other direction is as it was, and what is read makes room again.
    send(&stream, b"still here").await;
    let (count, _) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!(buffer[..count], *b"still here");
    let room = items(&stream, 10).await;
    assert!(room.len() < 500);
    bench.end().await;
}

#[tokio::test]
async fn the_end_of_the_stream_or_of_sense_on_it_ends_the_socket() {
    let bench = Bench::new().await;
    let (_socket, address) = target().await;
    let finished = bench.dial(address).await;
    finished.finish();
    let reset = bench.dial(address).await;
    reset.reset(ResetCode::Cancelled);
    let senseless = bench.dial(address).await;
    let bytes = Bytes::from_static(&[0xff, 0xfe]);
    senseless.halves().1.write(bytes).await.unwrap();
    for stream in [finished, senseless] {
        let ended = async { while let Ok(Some(_)) = stream.halves().0.read().await {} };
        timeout(LIMIT, ended).await.expect("it goes on");
    }
    drop(reset);
    bench.end().await;
}

#[tokio::test]
async fn the_policy_is_that_of_connections() {
    let bench = Bench::new().await;
    for host in ["169.254.169.254", "8.8.8.8", "224.0.0.1", "255.255.255.255"] {
        let request = Dial {
            network: DialNetwork::Udp,
            host: host.to_owned(),
            port: 53,
        };
        let refused = bench.link.request(&request).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{host}:53 is neither this node nor one of its pods or services")
        );
    }
    bench.end().await;
}
