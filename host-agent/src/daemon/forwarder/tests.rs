//! A forward with a real link behind it: both ends in this process, a pipe between them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use lkc_protocol::{
    error::{Refusal, RefusalCode},
    link::{Incoming, Link, Pair, pair},
    message::{AnyRequest, Dial, Dialled},
    relay::{Counters, relay},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket, UnixStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::{
    super::{
        guest_clock::{self, ClockSlot, GuestClock},
        guest_link::ActiveLink,
    },
    *,
};
use crate::{
    config::ForwardProtocol,
    control::{ForwardState, ForwardStatus},
};

/// Longest wait of a test for anything.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// What the guest of a test does with a dial.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Guest {
    /// Sends back what comes.
    Echoes,
    /// Says that nobody listens there.
    Refuses,
    /// Says no, with this code.
    RefusesWith(RefusalCode),
    /// Accepts, sends a few bytes and breaks the connection.
    Breaks,
    /// Accepts and reads nothing.
    Stalls,
    /// Says of whatever datagrams come that they were refused.
    RefusesDatagrams,
    /// Connects to this address and passes bytes on.
    LeadsTo(SocketAddr),
}

/// A forward on a free port, its link slot, and every task of the test.
pub(in super::super) struct Bench {
    pub(in super::super) forwarder: Forwarder,
    address: SocketAddr,
    slot: watch::Sender<Option<ActiveLink>>,
    /// How the clocks of guests stand.
    clock: ClockSlot,
    tasks: TaskTracker,
    ends: JoinSet<()>,
    links: u64,
}

impl Bench {
    pub(in super::super) fn new() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = Listener::Tcp(TcpListener::from_std(listener).unwrap());
        Self::of(
            UdpLimits::shared_by(1),
            spec(address.port()),
            address,
            listener,
        )
    }

    /// One of UDP.
    pub(super) async fn udp(limits: UdpLimits) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let spec = ForwardSpec {
            protocol: ForwardProtocol::Udp,
            ..spec(address.port())
        };
        Self::of(limits, spec, address, Listener::Udp(socket))
    }

    /// One of SOCKS.
    pub(super) async fn socks() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let spec = ForwardSpec {
            protocol: ForwardProtocol::Socks,
            ..spec(address.port())
        };
        let limits = UdpLimits::shared_by(1);
        Self::of(limits, spec, address, Listener::Tcp(listener))
    }

    /// One on a unix socket; its address leads nowhere.
    pub(super) fn unix(path: &Path) -> Self {
        let spec = ForwardSpec {
            socket: Some(path.to_owned()),
            bind: Vec::new(),
            ..spec(0)
        };
        let listener = bind(&spec).unwrap().remove(0);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::of(UdpLimits::shared_by(1), spec, address, listener)
    }

    fn of(limits: UdpLimits, spec: ForwardSpec, address: SocketAddr, listener: Listener) -> Self {
        let (slot, links) = watch::channel(None);
        let tasks = TaskTracker::new();
        let forwarder = Forwarder::start_with(limits, spec, vec![listener], &links, &tasks);
        Self {
            forwarder,
            address,
            slot,
            clock: guest_clock::tests::right(),
            tasks,
            ends: JoinSet::new(),
            links: 0,
        }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fills the slot with a new link to a guest of this kind.
    pub(in super::super) async fn link(&mut self, guest: Guest) -> Link {
        let Pair {
            host: (link, _),
            guest: (_, incoming),
            mut drivers,
        } = pair().await.unwrap();
        self.ends
            .spawn(async move { while drivers.join_next().await.is_some() {} });
        self.ends.spawn(serve(incoming, guest));
        self.links += 1;
        let number = self.links;
        let active = ActiveLink {
            number,
            link: link.clone(),
            route: crate::carrier::Carrier::Unix("/".into()).into(),
            clock: self.clock.clone(),
            handover: None,
            arrivals: crate::daemon::reverse::Arrivals::new(Default::default(), Arc::default()),
        };
        self.slot.send_replace(Some(active));
        link
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(in super::super) fn status(&self) -> ForwardStatus {
        let mut status = ForwardStatus {
            name: String::new(),
            protocol: ForwardProtocol::Tcp,
            listen: Vec::new(),
            target: String::new(),
            state: ForwardState::Listening,
            open: 0,
            total: 0,
            refused: 0,
            parked: 0,
            failed: 0,
            dropped: 0,
            sent_bytes: 0,
            received_bytes: 0,
            last_error: None,
            probe: None,
        };
        self.forwarder.counters().show(&mut status);
        status
    }

    /// Returns when a connection waits.
    async fn until_parked(&self) {
        let parked = async {
            while self.status().parked == 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, parked).await.expect("it was not parked");
    }

    /// Closes everything; fails when a task is left.
    pub(in super::super) async fn close(self) {
        drop(self.forwarder);
        if let Some(active) = self.slot.borrow().as_ref() {
            active.link.close();
        }
        self.tasks.close();
        timeout(LIMIT, self.tasks.wait())
            .await
            .expect("a task is left");
        drop(self.ends);
    }
}

fn spec(host_port: u16) -> ForwardSpec {
    ForwardSpec {
        name: "web".to_owned(),
        protocol: ForwardProtocol::Tcp,
        socket: None,
        bind: vec![IpAddr::from([127, 0, 0, 1])],
        host_port,
        guest_host: "127.0.0.1".to_owned(),
        guest_port: 80,
    }
}

async fn serve(mut incoming: Incoming, guest: Guest) {
    let mut streams = JoinSet::new();
    while let Some(request) = incoming.next().await {
        assert!(
            matches!(request.request(), AnyRequest::Dial(Dial { port: 80, .. })),
            "{:?}",
            request.request()
        );
        if matches!(guest, Guest::Refuses) {
            let refusal = Refusal::new(RefusalCode::Unreachable, "connection refused");
            request.refuse(&refusal);
            continue;
        }
        if let Guest::RefusesWith(code) = guest {
            request.refuse(&Refusal::new(code, "no"));
            continue;
        }
        let address = "127.0.0.1:80".to_owned();
        let mut stream = request.accept::<Dial>(&Dialled { address });
        streams.spawn(async move {
            if let Guest::LeadsTo(target) = guest {
                let tcp = TcpStream::connect(target).await.unwrap();
                relay(tcp, stream, &Counters::default()).await;
                return;
            }
            if matches!(guest, Guest::Breaks) {
                stream.write_all(b"half an ans").await.unwrap();
                // Dropped unfinished, which is a reset.
                return;
            }
            if matches!(guest, Guest::Stalls) {
                // Held until the link ends.
                let () = std::future::pending().await;
            }
            if matches!(guest, Guest::RefusesDatagrams) {
                let (reader, writer) = stream.halves();
                while let Ok(Some(_)) = reader.read().await {
                    writer.try_write(Bytes::from_static(&[0xff, 0xff])).unwrap();
                }
                return;
            }
            let (mut reader, mut writer) = tokio::io::split(stream);
            // A client of UDP ends with a reset.
            if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                writer.shutdown().await.unwrap();
            }
        });
    }
}

async fn read_to_end(client: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    timeout(LIMIT, client.read_to_end(&mut bytes))
        .await
        .expect("nothing came")?;
    Ok(bytes)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_half_closes_stay_half() {
    let mut bench = Bench::new();
    bench.link(Guest::Echoes).await;
    let mut tcp = bench.connect().await;
    let payload = vec![7; 3 * 1024 * 1024];
    let (mut reader, mut writer) = tcp.split();
    let mut echoed = Vec::new();
    let write = async {
        writer.write_all(&payload).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(write, reader.read_to_end(&mut echoed)) };
    timeout(LIMIT, both)
        .await
        .expect("the echo did not come")
        .1
        .unwrap();
    assert!(echoed == payload, "the echo differs");
    drop(tcp);
    let status = bench.status();
    assert_eq!((status.total, status.failed, status.refused), (1, 0, 0));
    assert_eq!(
        (status.sent_bytes, status.received_bytes),
        (3 << 20, 3 << 20)
    );
    bench.close().await;
}

#[tokio::test]
async fn a_target_that_refuses_is_a_reset_and_never_an_empty_success() {
    let mut bench = Bench::new();
    bench.link(Guest::Refuses).await;
    let mut tcp = bench.connect().await;
    let error = read_to_end(&mut tcp).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let status = bench.status();
    assert_eq!((status.refused, status.failed), (1, 0));
    assert_eq!(
        status.last_error.as_deref(),
        Some("target: connection refused")
    );
    bench.close().await;
}

#[tokio::test]
async fn a_connection_that_breaks_behind_the_guest_breaks_here() {
    let mut bench = Bench::new();
    bench.link(Guest::Breaks).await;
    let mut tcp = bench.connect().await;
    let error = read_to_end(&mut tcp).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    bench.close().await;
}

#[tokio::test]
async fn a_connection_waits_for_the_link_and_then_passes() {
    let mut bench = Bench::new();
    let mut tcp = bench.connect().await;
    tcp.write_all(b"early").await.unwrap();
    tcp.shutdown().await.unwrap();
    bench.until_parked().await;
    bench.link(Guest::Echoes).await;
    assert_eq!(read_to_end(&mut tcp).await.unwrap(), b"early");
    assert_eq!((bench.status().parked, bench.status().failed), (0, 0));
    bench.close().await;
}

#[tokio::test]
async fn nothing_is_forwarded_to_a_guest_whose_clock_is_not_looked_at_yet() {
    let mut bench = Bench::new();
    let (told, clock) = watch::channel(GuestClock::Unsettled);
    bench.clock = clock;
    bench.link(Guest::Echoes).await;
    let mut tcp = bench.connect().await;
    tcp.write_all(b"early").await.unwrap();
    tcp.shutdown().await.unwrap();
    bench.until_parked().await;
    told.send_replace(GuestClock::Settled(None));
    assert_eq!(read_to_end(&mut tcp).await.unwrap(), b"early");

    // The same link, once its host has slept; another comes meanwhile.
    told.send_replace(GuestClock::Unsettled);
    let mut tcp = bench.connect().await;
    tcp.write_all(b"again").await.unwrap();
    tcp.shutdown().await.unwrap();
    bench.until_parked().await;
    bench.clock = guest_clock::tests::right();
    bench.link(Guest::Echoes).await;
    assert_eq!(read_to_end(&mut tcp).await.unwrap(), b"again");
    bench.close().await;
}

#[tokio::test]
async fn a_link_that_is_lost_resets_what_stands_and_the_next_one_serves() {
    let mut bench = Bench::new();
    let first = bench.link(Guest::Echoes).await;
    let mut tcp = bench.connect().await;
    tcp.write_all(b"x").await.unwrap();
    let mut byte = [0];
    timeout(LIMIT, tcp.read_exact(&mut byte))
        .await
        .unwrap()
        .unwrap();
    first.close();
    let error = read_to_end(&mut tcp).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("carrier: the link is down")
    );
    // The slot still shows the dead link: a new connection waits for the next.
    let mut next = bench.connect().await;
    next.write_all(b"again").await.unwrap();
    next.shutdown().await.unwrap();
    bench.link(Guest::Echoes).await;
    assert_eq!(read_to_end(&mut next).await.unwrap(), b"again");
    bench.close().await;
}

#[tokio::test]
async fn without_a_link_a_connection_is_reset_at_the_deadline() {
    let bench = Bench::new();
    let connection = Connection {
        spec: Arc::new(spec(80)),
        counters: Arc::clone(bench.forwarder.counters()),
        links: bench.slot.subscribe(),
        token: CancellationToken::new(),
        park: Duration::from_millis(50),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    timeout(LIMIT, connection.serve(accepted.unwrap().0))
        .await
        .expect("it is parked for ever");
    let error = read_to_end(&mut client.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let status = bench.status();
    assert_eq!((status.failed, status.refused, status.parked), (1, 0, 0));
    assert_eq!(
        status.last_error.as_deref(),
        Some("carrier: no link to the guest within 50 ms")
    );
    bench.close().await;
}

#[tokio::test]
async fn closing_a_forward_frees_its_port_and_resets_what_is_parked() {
    let bench = Bench::new();
    let mut parked = bench.connect().await;
    let is_parked = async {
        while bench.status().parked == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, is_parked).await.expect("it was not parked");
    let address = bench.address;
    bench.close().await;
    let error = read_to_end(&mut parked).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(bind(&spec(address.port())).unwrap().len(), 1);
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_and_nothing_is_left_bound() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let both = ForwardSpec {
        bind: vec!["::1".parse().unwrap(), "127.0.0.1".parse().unwrap()],
        ..spec(port)
    };
    let error = bind(&both).unwrap_err();
    assert!(error.is_taken());
    assert_eq!(
        error.to_string(),
        format!("cannot listen on 127.0.0.1:{port}")
    );
    drop(taken);
    assert!(!bind(&both).unwrap().is_empty());
}

#[tokio::test]
async fn a_parked_connection_that_its_client_resets_gives_its_place_back() {
    let bench = Bench::new();
    let tcp = bench.connect().await;
    eventually(&bench, |status| status.parked == 1).await;
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    eventually(&bench, |status| status.open == 0).await;
    assert_eq!(
        bench.status().last_error.as_deref(),
        Some("host: the client gave up while its connection was parked")
    );
    bench.close().await;
}

#[tokio::test]
async fn a_unix_socket_carries_both_ways_and_half_closes_stay_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let mut bench = Bench::unix(&path);
    bench.link(Guest::Echoes).await;
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut client).await.unwrap(), b"hello");
    eventually(&bench, |status| status.open == 0).await;
    let status = bench.status();
    assert_eq!((status.total, status.failed), (1, 0));
    assert_eq!((status.sent_bytes, status.received_bytes), (5, 5));
    bench.close().await;
    assert!(!path.exists(), "the socket is left");
}

#[tokio::test]
async fn a_reset_shows_on_a_unix_socket_where_something_is_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let mut bench = Bench::unix(&path);
    bench.link(Guest::Refuses).await;
    let mut silent = UnixStream::connect(&path).await.unwrap();
    // All that the kernel can show of it: an end without an answer.
    assert_eq!(read_to_end(&mut silent).await.unwrap(), b"");
    // Written before anybody looks at the connection, which is not before the test waits.
    let mut eager = std::os::unix::net::UnixStream::connect(&path).unwrap();
    io::Write::write_all(&mut eager, b"select 1").unwrap();
    eager.set_nonblocking(true).unwrap();
    let mut eager = UnixStream::from_std(eager).unwrap();
    let error = read_to_end(&mut eager).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let status = bench.status();
    assert_eq!((status.refused, status.failed), (2, 0));
    bench.close().await;
}

#[tokio::test]
async fn a_connection_of_ours_is_told_on_a_unix_socket_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db.sock");
    let mut bench = Bench::unix(&path);
    bench.link(Guest::Echoes).await;
    let way_in = bench.forwarder.way_in();
    assert_eq!(way_in.places, [Place::Socket(path.clone())]);
    let mut own = way_in.own.expect(Caller::ThisProcess);
    let client = UnixStream::connect(&path).await.unwrap();
    assert!(timeout(LIMIT, own.reached()).await.expect("it waits"));
    assert!(own.was_taken());
    drop(client);
    timeout(LIMIT, own.ended()).await.expect("it does not end");
    assert_eq!(bench.status().total, 0);
    bench.close().await;
}

#[tokio::test]
async fn a_connection_of_ours_is_counted_apart() {
    let mut bench = Bench::new();
    bench.link(Guest::Refuses).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let way_in = bench.forwarder.way_in();
    assert_eq!(way_in.places, [Place::Address(bench.address)]);
    let mut own = way_in.own.expect(Caller::At(socket.local_addr().unwrap()));
    assert!(!own.was_taken());
    let mut tcp = socket.connect(bench.address).await.unwrap();
    let error = read_to_end(&mut tcp).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    timeout(LIMIT, own.ended()).await.expect("it does not end");
    assert!(own.was_taken());
    let refused = (Layer::Target, "connection refused".to_owned());
    assert_eq!(own.counters().last_failure(), Some(refused));
    let status = bench.status();
    assert_eq!(
        (status.total, status.refused, status.last_error),
        (0, 0, None)
    );
    bench.close().await;
}

pub(super) async fn eventually(bench: &Bench, holds: impl Fn(&ForwardStatus) -> bool) {
    let until = async {
        while !holds(&bench.status()) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, until).await.expect("it never holds");
}
