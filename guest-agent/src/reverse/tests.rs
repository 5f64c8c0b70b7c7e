//! Listeners with a real link behind them: both ends in this process, a pipe between them.

use std::{io, net::SocketAddr};

use lkc_protocol::{
    error::ResetCode,
    link::{Incoming, Pair, StreamError, pair},
    message::{AnyRequest, Arrived},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::AbortHandle,
};

use super::*;

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// What a host has of a link, and every task of both ends.
struct Bench {
    link: Link,
    guest_link: Link,
    incoming: Incoming,
    tasks: JoinSet<()>,
    /// Ends the guest's part at once.
    guest: AbortHandle,
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        let Pair {
            host: (link, incoming),
            guest: (guest_link, requests),
            drivers: mut tasks,
        } = pair().await.unwrap();
        let guest = tasks.spawn(serve(Listeners::new(guest_link.clone(), limits), requests));
        Self {
            link,
            guest_link,
            incoming,
            tasks,
            guest,
        }
    }

    async fn listen(&self, address: SocketAddr) -> Result<Stream, RequestError> {
        let wanted = Listen {
            id: u32::from(address.port()),
            address: address.ip().to_string(),
            port: address.port(),
        };
        let answer = timeout(LIMIT, self.link.request(&wanted));
        let (listening, stream) = answer.await.expect("no answer")?;
        assert_eq!(listening.address, address.to_string());
        Ok(stream)
    }

    /// The next connection that the guest brings, unanswered.
    async fn arrival(&mut self) -> IncomingRequest {
        let next = timeout(LIMIT, self.incoming.next());
        next.await.expect("nothing arrives").expect("a link")
    }

    /// Takes the next connection, which must be of this listener.
    async fn take(&mut self, address: SocketAddr) -> Stream {
        let arrival = self.arrival().await;
        let listen = u32::from(address.port());
        assert_eq!(
            *arrival.request(),
            AnyRequest::Arrive(Arrive { listen }),
            "it says more than the number of its listener"
        );
        arrival.accept::<Arrive>(&Arrived {})
    }

    /// Ends the link, and waits until nothing of either end runs.
    async fn end(mut self) {
        self.link.close();
        drop(self.incoming);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(LIMIT, ended).await.expect("a task is left");
    }
}

/// The guest, as far as it is about listeners.
async fn serve(listeners: Listeners, mut requests: Incoming) {
    let mut serving = JoinSet::new();
    while let Some(request) = requests.next().await {
        let AnyRequest::Listen(wanted) = request.request().clone() else {
            panic!("{:?}", request.request());
        };
        let listeners = listeners.clone();
        serving.spawn(async move { listeners.serve(request, &wanted).await });
    }
    serving.shutdown().await;
}

/// A loopback address that nobody else is likely to ask for at the same time.
fn free_address() -> SocketAddr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let address = SocketAddr::from(([127, 101, high, low], 0));
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.local_addr().unwrap()
}

async fn connect(address: SocketAddr) -> TcpStream {
    let connecting = timeout(LIMIT, TcpStream::connect(address));
    connecting.await.expect("no connection").unwrap()
}

async fn reads_reset(tcp: &mut TcpStream) {
    let read = timeout(LIMIT, tcp.read(&mut [0; 16])).await;
    let error = read.expect("nothing came").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Waits until nobody listens there.
async fn until_closed(address: SocketAddr) {
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, closed).await.expect("it listens still");
}

fn refusal_of(result: Result<Stream, RequestError>) -> Refusal {
    match result {
        Err(RequestError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_and_half_closes_stay_half() {
    let mut bench = Bench::new(Limits::default()).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let mut tcp = connect(address).await;
    let stream = bench.take(address).await;
    let payload = vec![7; 3 * 1024 * 1024];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let host = async {
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        // The client's end has come; the host's own bytes still pass.
        writer.write_all(b"and more").await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let (mut from_host, mut to_host) = tcp.split();
    let write = async {
        to_host.write_all(&payload).await.unwrap();
        to_host.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let all = async { tokio::join!(host, write, from_host.read_to_end(&mut received)) };
    timeout(LIMIT, all).await.expect("it hangs").2.unwrap();
    assert!(received.starts_with(&payload) && received.ends_with(b"and more"));
    assert_eq!(received.len(), payload.len() + 8);
    bench.end().await;
}

#[tokio::test]
async fn a_connection_that_the_host_refuses_is_reset_and_never_an_empty_success() {
    let mut bench = Bench::new(Limits::default()).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let mut tcp = connect(address).await;
    let refusal = Refusal::new(RefusalCode::Unreachable, "connection refused");
    bench.arrival().await.refuse(&refusal);
    reads_reset(&mut tcp).await;
    bench.end().await;
}

#[tokio::test]
async fn resets_pass_in_both_directions() {
    let mut bench = Bench::new(Limits::default()).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let mut tcp = connect(address).await;
    bench.take(address).await.reset(ResetCode::ConnectionReset);
    reads_reset(&mut tcp).await;

    let tcp = connect(address).await;
    let mut stream = bench.take(address).await;
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let end = timeout(LIMIT, stream.receive_raw()).await.unwrap();
    assert!(
        matches!(end, Err(StreamError::Reset(ResetCode::ConnectionReset))),
        "{end:?}"
    );
    bench.end().await;
}

#[tokio::test]
async fn a_client_that_gives_up_is_not_waited_for() {
    let mut bench = Bench::new(Limits::default()).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let tcp = connect(address).await;
    let arrival = bench.arrival().await;
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    let gone = async {
        // The stream of the listener is left. The host's end counts the other until it has looked.
        while bench.guest_link.stream_count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, gone).await.expect("it is waited for");
    drop(arrival);
    bench.end().await;
}

#[tokio::test]
async fn what_a_client_sent_before_it_reset_reaches_a_host_that_answers_late() {
    let mut bench = Bench::new(Limits::default()).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    for (ends, sent) in [
        (false, &b"all of it"[..]),
        (true, b"all of it"),
        (true, b""),
    ] {
        let mut tcp = connect(address).await;
        let arrival = bench.arrival().await;
        tcp.write_all(sent).await.unwrap();
        if ends {
            tcp.shutdown().await.unwrap();
        }
        tcp.set_zero_linger().unwrap();
        drop(tcp);
        // By then the guest has seen the reset.
        nothing_arrives(&mut bench).await;
        let stream = arrival.accept::<Arrive>(&Arrived {});
        let read = async {
            let (reader, _) = stream.halves();
            let mut all = Vec::new();
            loop {
                match reader.read().await {
                    Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                    Ok(None) => break (all, true),
                    Err(StreamError::Reset(ResetCode::ConnectionReset)) => break (all, false),
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let read = timeout(LIMIT, read).await.expect("it hangs");
        assert_eq!(read, (sent.to_vec(), ends));
    }
    bench.end().await;
}

#[tokio::test]
async fn a_listener_ends_with_its_stream_and_a_connection_does_not() {
    for reset in [false, true] {
        let mut bench = Bench::new(Limits::default()).await;
        let address = free_address();
        let mut listener = bench.listen(address).await.unwrap();
        let mut tcp = connect(address).await;
        let mut stream = bench.take(address).await;
        if reset {
            drop(listener);
        } else {
            listener.finish();
            let end = timeout(LIMIT, listener.receive_raw()).await.unwrap();
            assert!(matches!(end, Ok(None)), "{end:?}");
        }
        until_closed(address).await;
        stream.write_all(b"still here").await.unwrap();
        let mut bytes = [0; 10];
        timeout(LIMIT, tcp.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&bytes, b"still here");
        bench.end().await;
    }
}

#[tokio::test]
async fn all_ends_with_the_link_and_the_next_one_may_listen_again() {
    let address = free_address();
    for _ in 0..3 {
        let mut bench = Bench::new(Limits::default()).await;
        let _listener = bench.listen(address).await.unwrap();
        let mut standing = connect(address).await;
        let _stream = bench.take(address).await;
        let mut waiting = connect(address).await;
        let _arrival = bench.arrival().await;
        bench.link.close();
        reads_reset(&mut standing).await;
        reads_reset(&mut waiting).await;
        until_closed(address).await;
        bench.end().await;
    }
}

#[tokio::test]
async fn an_agent_that_ends_resets_what_waits_and_what_stands() {
    let mut bench = Bench::new(Limits::default()).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let mut standing = connect(address).await;
    let _stream = bench.take(address).await;
    let mut waiting = connect(address).await;
    let _arrival = bench.arrival().await;
    bench.guest.abort();
    reads_reset(&mut standing).await;
    reads_reset(&mut waiting).await;
    bench.end().await;
}

#[tokio::test]
async fn what_cannot_be_bound_is_refused_with_a_reason() {
    let bench = Bench::new(Limits::default()).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refusal = refusal_of(bench.listen(address).await);
    assert_eq!(refusal.code, RefusalCode::InUse);
    assert_eq!(refusal.text, format!("{address} is in use in the guest"));
    let refusal = refusal_of(bench.listen("127.0.0.1:6443".parse().unwrap()).await);
    assert_eq!(refusal.code, RefusalCode::Denied);
    assert_eq!(
        refusal.text,
        "port 6443 of the guest is for k3s: the Kubernetes API"
    );
    let refusal = refusal_of(bench.listen("8.8.8.8:5000".parse().unwrap()).await);
    assert_eq!(refusal.text, "8.8.8.8 is no address of the guest");
    drop(taken);
    // Free again, so it is to be had.
    let _listener = bench.listen(address).await.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn a_link_has_so_many_listeners_and_no_more() {
    let limits = Limits {
        listeners: 2,
        ..Limits::default()
    };
    let bench = Bench::new(limits).await;
    let first = bench.listen(free_address()).await.unwrap();
    let _second = bench.listen(free_address()).await.unwrap();
    let refusal = refusal_of(bench.listen(free_address()).await);
    assert_eq!(refusal.code, RefusalCode::Busy);
    assert_eq!(refusal.text, "a link has at most 2 listeners");
    drop(first);
    let room = async {
        while let Err(RequestError::Refused(refusal)) = bench.listen(free_address()).await {
            assert_eq!(refusal.code, RefusalCode::Busy);
        }
    };
    timeout(LIMIT, room).await.expect("its place is not free");
    bench.end().await;
}

#[tokio::test]
async fn more_connections_than_a_listener_may_have_wait_their_turn() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let clients = [
        connect(address).await,
        connect(address).await,
        connect(address).await,
    ];
    let first = bench.take(address).await;
    let _second = bench.take(address).await;
    // A request and its answer pass after whatever the guest had to bring.
    nothing_arrives(&mut bench).await;
    first.reset(ResetCode::ConnectionReset);
    let _third = bench.take(address).await;
    drop(clients);
    bench.end().await;
}

#[tokio::test]
async fn more_unanswered_connections_than_a_listener_may_have_wait_their_turn() {
    let limits = Limits {
        unanswered: 2,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits).await;
    let address = free_address();
    let _listener = bench.listen(address).await.unwrap();
    let clients = [
        connect(address).await,
        connect(address).await,
        connect(address).await,
    ];
    let first = bench.arrival().await;
    let _second = bench.arrival().await;
    nothing_arrives(&mut bench).await;
    let _stream = first.accept::<Arrive>(&Arrived {});
    let _third = bench.arrival().await;
    drop(clients);
    bench.end().await;
}

/// Gives the guest time to bring one more, which it must not: two whole rounds of another listener.
async fn nothing_arrives(bench: &mut Bench) {
    for _ in 0..2 {
        let address = free_address();
        let _listener = bench.listen(address).await.unwrap();
        let _client = connect(address).await;
        let arrival = bench.arrival().await;
        let listen = u32::from(address.port());
        assert_eq!(
            *arrival.request(),
            AnyRequest::Arrive(Arrive { listen }),
            "a connection beyond the limit"
        );
    }
}
