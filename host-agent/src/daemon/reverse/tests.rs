//! Both ends of a real link in this process, with a guest that the test plays.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use lkc_protocol::{
    error::{Refusal, RefusalCode, ResetCode},
    hello::{Hello, Role},
    link::{Incoming, IncomingRequest, Link, Pair, RequestError, Stream, StreamError, pair},
    message::{AnyRequest, Arrive, Dial, DialNetwork, Info, Listen, Listening, Request, Shutdown},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        guest_link::ActiveLink,
        reporter::Reporter,
        state::{Event, Report},
    },
    arrivals::Number,
    listener::too_old,
    *,
};
use crate::{
    config::HostTarget,
    control::{ForwardState, ReverseStatus},
};

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    active: ActiveLink,
    /// The guest's handles.
    guest: Link,
    asked: Incoming,
    denied: Arc<AtomicU64>,
    reporter: Reporter,
    reports: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
}

impl Bench {
    async fn new(limits: Limits) -> Self {
        let Pair {
            host: (link, incoming),
            guest: (guest, asked),
            drivers: mut tasks,
        } = pair().await.unwrap();
        let denied = Arc::new(AtomicU64::new(0));
        let arrivals = Arrivals::new(limits, Arc::clone(&denied));
        let serving = Arc::clone(&arrivals);
        tasks.spawn(async move { serving.serve(incoming).await });
        let (events, reports) = mpsc::channel(16);
        Self {
            active: ActiveLink {
                number: 1,
                link,
                route: crate::carrier::Carrier::Unix("/".into()).into(),
                clock: crate::daemon::guest_clock::tests::right(),
                handover: None,
                arrivals,
            },
            guest,
            asked,
            denied,
            reporter: Reporter {
                cluster: "k3s-dev".parse().unwrap(),
                run: 1,
                events,
            },
            reports,
            tasks,
        }
    }

    /// As if the guest listened for a reverse forward with this target.
    fn listening(&self, target: HostTarget) -> (Arc<Reverse>, Number) {
        let reverse = Reverse::new(spec(target));
        let number = self.active.arrivals.number(&reverse);
        (reverse, number)
    }

    async fn arrive(&self, listen: u32) -> Result<Stream, Refusal> {
        self.ask(&Arrive { listen }).await
    }

    async fn ask(&self, request: &impl Request) -> Result<Stream, Refusal> {
        let answer = timeout(LIMIT, self.guest.request(request)).await;
        match answer.expect("no answer") {
            Ok((_, stream)) => Ok(stream),
            Err(RequestError::Refused(refusal)) => Err(refusal),
            Err(other) => panic!("{other}"),
        }
    }

    /// Begins to keep a listener.
    fn keep(&mut self, reverse: &Arc<Reverse>) -> CancellationToken {
        let token = CancellationToken::new();
        let keeping = keep(
            Arc::clone(reverse),
            self.active.clone(),
            token.clone(),
            self.reporter.clone(),
        );
        self.tasks.spawn(keeping);
        token
    }

    /// The next listener that the guest is asked for.
    async fn listen(&mut self) -> (IncomingRequest, Listen) {
        let next = timeout(LIMIT, self.asked.next());
        let request = next.await.expect("not asked").expect("a link");
        let AnyRequest::Listen(wanted) = request.request().clone() else {
            panic!("{:?}", request.request());
        };
        (request, wanted)
    }

    async fn report(&mut self) -> Option<String> {
        match timeout(LIMIT, self.reports.recv()).await.unwrap() {
            Some(Event::Reported {
                report: Report::ReverseForward { link: 1, error, .. },
                ..
            }) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Ends the link, and waits until nothing of either end runs.
    async fn end(mut self) {
        self.active.link.close();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(LIMIT, ended).await.expect("a task is left");
    }
}

fn spec(target: HostTarget) -> ReverseSpec {
    ReverseSpec {
        name: "registry".to_owned(),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        guest_port: 5000,
        target,
    }
}

fn to_port(port: u16) -> HostTarget {
    let host = "127.0.0.1".to_owned();
    HostTarget::Tcp { host, port }
}

async fn server() -> (TcpListener, HostTarget) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = to_port(listener.local_addr().unwrap().port());
    (listener, target)
}

async fn accept(server: &TcpListener) -> TcpStream {
    let accepted = timeout(LIMIT, server.accept()).await;
    accepted.expect("nobody connects").unwrap().0
}

fn status(reverse: &Reverse) -> ReverseStatus {
    let mut status = ReverseStatus {
        name: String::new(),
        listen: String::new(),
        target: String::new(),
        state: ForwardState::Listening,
        open: 0,
        total: 0,
        refused: 0,
        failed: 0,
        sent_bytes: 0,
        received_bytes: 0,
        last_error: None,
    };
    reverse.counters.show(&mut status);
    status
}

async fn eventually(reverse: &Reverse, holds: impl Fn(&ReverseStatus) -> bool) {
    let until = async {
        while !holds(&status(reverse)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, until).await.expect("it never holds");
}

#[tokio::test]
async fn a_connection_comes_out_at_the_target_and_half_closes_stay_half() {
    let bench = Bench::new(Limits::default()).await;
    let (server, target) = server().await;
    let (reverse, number) = bench.listening(target);
    let mut client = bench.arrive(number.id()).await.unwrap();
    let mut served = accept(&server).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = Vec::new();
    timeout(LIMIT, served.read_to_end(&mut question))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(question, b"question");
    let answer = vec![7; 3 * 1024 * 1024];
    let mut received = Vec::new();
    let (mut reader, mut writer) = served.split();
    let write = async {
        writer.write_all(&answer).await.unwrap();
        writer.shutdown().await.unwrap();
        assert_eq!(reader.read(&mut [0]).await.unwrap(), 0);
    };
    let both = async { tokio::join!(write, client.read_to_end(&mut received)) };
    timeout(LIMIT, both).await.expect("it hangs").1.unwrap();
    assert!(received == answer, "the answer differs");
    eventually(&reverse, |status| status.open == 0).await;
    let status = status(&reverse);
    assert_eq!((status.total, status.refused, status.failed), (1, 0, 0));
    assert_eq!((status.sent_bytes, status.received_bytes), (8, 3 << 20));
    assert_eq!(status.last_error, None);
    bench.end().await;
}

#[tokio::test]
async fn a_unix_socket_of_this_host_can_be_the_target() {
    let bench = Bench::new(Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("registry.sock");
    let missing = bench.listening(HostTarget::Unix(path.clone()));
    let refusal = bench.arrive(missing.1.id()).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Unreachable);
    assert_eq!(
        status(&missing.0).last_error.unwrap(),
        format!("target: unix:{}: there is no such socket", path.display())
    );
    let server = UnixListener::bind(&path).unwrap();
    let (_reverse, number) = bench.listening(HostTarget::Unix(path));
    let mut client = bench.arrive(number.id()).await.unwrap();
    let (mut served, _) = timeout(LIMIT, server.accept()).await.unwrap().unwrap();
    served.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    timeout(LIMIT, client.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&bytes, b"hello");
    bench.end().await;
}

#[tokio::test]
async fn a_target_that_refuses_is_a_refusal_that_tells_the_guest_nothing_of_this_host() {
    let bench = Bench::new(Limits::default()).await;
    let (server, target) = server().await;
    drop(server);
    let (reverse, number) = bench.listening(target.clone());
    let refusal = bench.arrive(number.id()).await.unwrap_err();
    assert_eq!(
        (refusal.code, refusal.text.as_str()),
        (RefusalCode::Unreachable, "")
    );
    let status = status(&reverse);
    assert_eq!((status.total, status.refused, status.open), (1, 1, 0));
    assert_eq!(
        status.last_error.unwrap(),
        format!("target: {target}: connection refused")
    );
    bench.end().await;
}

#[tokio::test]
async fn resets_pass_in_both_directions() {
    let bench = Bench::new(Limits::default()).await;
    let (server, target) = server().await;
    let (reverse, number) = bench.listening(target);
    let mut client = bench.arrive(number.id()).await.unwrap();
    let served = accept(&server).await;
    served.set_zero_linger().unwrap();
    drop(served);
    let end = timeout(LIMIT, client.receive_raw()).await.unwrap();
    assert!(
        matches!(end, Err(StreamError::Reset(ResetCode::ConnectionReset))),
        "{end:?}"
    );
    eventually(&reverse, |status| status.failed == 1).await;
    let client = bench.arrive(number.id()).await.unwrap();
    let mut served = accept(&server).await;
    client.reset(ResetCode::ConnectionReset);
    let read = timeout(LIMIT, served.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    eventually(&reverse, |status| status.open == 0).await;
    assert_eq!(status(&reverse).failed, 1, "a client's reset is its own");
    bench.end().await;
}

#[tokio::test]
async fn what_nobody_asked_for_is_denied_and_counted_and_nothing_is_dialled() {
    let bench = Bench::new(Limits::default()).await;
    for listen in [0, 1, 2, u32::MAX] {
        let refusal = bench.arrive(listen).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Denied, "without any listener");
    }
    assert_eq!(bench.denied.load(Ordering::Relaxed), 4);
    let (server, target) = server().await;
    let (reverse, number) = bench.listening(target);
    for listen in [0, number.id() + 1, u32::MAX] {
        let refusal = bench.arrive(listen).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Denied, "another number");
    }
    // Nor does it dial, listen or stop anything for the guest.
    let dial = Dial {
        network: DialNetwork::Tcp,
        host: "127.0.0.1".to_owned(),
        port: server.local_addr().unwrap().port(),
    };
    let listen = Listen {
        id: 1,
        address: "0.0.0.0".to_owned(),
        port: 5000,
    };
    let refusals = [
        bench.ask(&dial).await.unwrap_err(),
        bench.ask(&listen).await.unwrap_err(),
        bench.ask(&Info {}).await.unwrap_err(),
        bench.ask(&Shutdown { grace_ms: 0 }).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code, RefusalCode::Denied, "{refusal}");
    }
    assert_eq!(bench.denied.load(Ordering::Relaxed), 11);
    assert_eq!(status(&reverse).total, 0);
    // What comes first at the server is the first connection that was asked for.
    let mut client = bench.arrive(number.id()).await.unwrap();
    client.write_all(b"mine").await.unwrap();
    let mut bytes = [0; 4];
    let mut served = accept(&server).await;
    timeout(LIMIT, served.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&bytes, b"mine");
    bench.end().await;
}

#[tokio::test]
async fn a_number_is_good_for_its_own_link_and_time() {
    let first = Bench::new(Limits::default()).await;
    let second = Bench::new(Limits::default()).await;
    let (_server, target) = server().await;
    let (_reverse, number) = first.listening(target);
    let id = number.id();
    let refusal = second.arrive(id).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Denied);
    assert_eq!(second.denied.load(Ordering::Relaxed), 1);
    drop(number);
    let refusal = first.arrive(id).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Denied);
    // The guest cannot have known yet that it is over.
    assert_eq!(first.denied.load(Ordering::Relaxed), 0);
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn a_guest_brings_so_many_connections_and_no_more() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let bench = Bench::new(limits).await;
    let (server, target) = server().await;
    let (reverse, number) = bench.listening(target);
    let first = bench.arrive(number.id()).await.unwrap();
    let _second = bench.arrive(number.id()).await.unwrap();
    let _served = (accept(&server).await, accept(&server).await);
    let refusal = bench.arrive(number.id()).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Busy);
    let shown = status(&reverse);
    assert_eq!((shown.total, shown.failed), (2, 1));
    assert_eq!(
        shown.last_error.unwrap(),
        "host: the guest brings more connections at once than this host takes"
    );
    drop(first);
    eventually(&reverse, |status| status.open == 1).await;
    let room = async { while bench.arrive(number.id()).await.is_err() {} };
    timeout(LIMIT, room).await.expect("its place is not free");
    bench.end().await;
}

/// A target that neither accepts nor refuses.
#[tokio::test]
async fn a_guest_leaves_so_many_connections_unanswered_and_no_more() {
    let limits = Limits {
        unanswered: 2,
        ..Limits::default()
    };
    let mut bench = Bench::new(limits).await;
    let full = full_socket().await;
    let (reverse, number) = bench.listening(HostTarget::Unix(full.path.clone()));
    let id = number.id();
    for _ in 0..2 {
        let guest = bench.guest.clone();
        bench.tasks.spawn(async move {
            let _ = guest.request(&Arrive { listen: id }).await;
        });
    }
    eventually(&reverse, |status| status.open == 2).await;
    let refusal = bench.arrive(id).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Busy);
    // Another target is reached all the same.
    let (_server, target) = server().await;
    let (_other, other_number) = bench.listening(target);
    bench.arrive(other_number.id()).await.unwrap();
    bench.end().await;
}

/// A unix socket whose queue is full; it is emptied when this is dropped.
struct FullSocket {
    path: PathBuf,
    _dir: tempfile::TempDir,
    listener: UnixListener,
    waiting: Vec<UnixStream>,
}

async fn full_socket() -> FullSocket {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("full.sock");
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(one) = UnixStream::connect(&path).await {
        waiting.push(one);
    }
    FullSocket {
        path,
        _dir: dir,
        listener,
        waiting,
    }
}

#[tokio::test]
async fn a_unix_socket_whose_queue_is_full_is_waited_for() {
    let bench = Bench::new(Limits::default()).await;
    let full = full_socket().await;
    let (reverse, number) = bench.listening(HostTarget::Unix(full.path.clone()));
    let arriving = bench.arrive(number.id());
    let emptied = async {
        eventually(&reverse, |status| status.open == 1).await;
        for _ in 0..=full.waiting.len() {
            full.listener.accept().await.unwrap();
        }
    };
    let (arrived, ()) = tokio::join!(arriving, emptied);
    arrived.unwrap();
    bench.end().await;
}

#[tokio::test]
async fn a_listener_is_asked_for_and_its_number_is_good() {
    let mut bench = Bench::new(Limits::default()).await;
    let (server, target) = server().await;
    let reverse = Reverse::new(spec(target));
    let token = bench.keep(&reverse);
    let (request, wanted) = bench.listen().await;
    assert_eq!((wanted.address.as_str(), wanted.port), ("127.0.0.1", 5000));
    let mut listener = request.accept::<Listen>(&bound());
    assert_eq!(bench.report().await, None);
    let _client = bench.arrive(wanted.id).await.unwrap();
    let _served = accept(&server).await;
    // Let go of, its number is good no more and the guest learns that it is over.
    token.cancel();
    let end = timeout(LIMIT, listener.receive_raw()).await.unwrap();
    assert!(matches!(end, Err(StreamError::Reset(_))), "{end:?}");
    let refusal = bench.arrive(wanted.id).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Denied);
    eventually(&reverse, |status| status.open == 1).await;
    bench.end().await;
}

fn bound() -> Listening {
    let address = "127.0.0.1:5000".to_owned();
    Listening { address }
}

#[tokio::test]
async fn an_address_that_somebody_has_is_asked_for_again() {
    let mut bench = Bench::new(Limits::default()).await;
    let reverse = Reverse::new(spec(to_port(1)));
    let token = bench.keep(&reverse);
    let (request, first) = bench.listen().await;
    let in_use = "127.0.0.1:5000 is in use in the guest\u{1b}[2J";
    request.refuse(&Refusal::new(RefusalCode::InUse, in_use));
    insta::assert_snapshot!(bench.report().await.unwrap(), @r#"agent: 127.0.0.1:5000 is in use in the guest\u{1b}[2J; end what listens there, or give the reverse forward another port"#);
    let (request, second) = bench.listen().await;
    assert_ne!(first.id, second.id);
    let listener = request.accept::<Listen>(&bound());
    assert_eq!(bench.report().await, None);
    // And so is one that the guest has given up by itself.
    drop(listener);
    insta::assert_snapshot!(bench.report().await.unwrap(), @"agent: the guest listens no more");
    let (request, _) = bench.listen().await;
    let _listener = request.accept::<Listen>(&bound());
    assert_eq!(bench.report().await, None);
    assert!(!token.is_cancelled());
    bench.end().await;
    assert!(token.is_cancelled(), "it is over with the link");
}

#[tokio::test]
async fn what_the_guest_refuses_for_good_is_not_asked_for_again() {
    let mut bench = Bench::new(Limits::default()).await;
    let reverse = Reverse::new(spec(to_port(1)));
    let token = bench.keep(&reverse);
    let (request, _) = bench.listen().await;
    request.refuse(&Refusal::new(RefusalCode::Denied, "not there"));
    assert_eq!(bench.report().await.unwrap(), "agent: not there");
    timeout(LIMIT, token.cancelled()).await.expect("it goes on");
    bench.end().await;
}

#[test]
fn a_guest_of_before_reverse_forwards_is_said_to_be_upgraded() {
    let peer = |capability| Hello {
        capability,
        oldest_capability: 1,
        role: Role::Guest,
        plain: false,
        max_frame: 1 << 20,
        max_streams: 1024,
        boot_id: [1; 16],
        version: "0.0.9".to_owned(),
        node: "k3s-dev".to_owned(),
    };
    assert_eq!(too_old(&peer(2)), None);
    assert_eq!(too_old(&peer(7)), None);
    let said = too_old(&peer(1)).unwrap();
    assert_eq!(
        said.replace(env!("CARGO_PKG_VERSION"), "$VERSION"),
        "agent: lkc-guest 0.0.9 knows no reverse forwards: bring it up to the version of lkc-host, $VERSION"
    );
}
