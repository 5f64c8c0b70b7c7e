//! A link in one process with a listener at its host's end and a target behind its guest's end.

use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    identity::Identity,
    link::{self, Driver, Encrypt, Incoming, Link, LinkEnd, LinkOptions},
    message::{AnyRequest, Dial, DialNetwork, Dialled},
    relay::{Counters, RelayEnd, connect, relay, reset_tcp},
    session::Limits,
};
use tokio::{
    io::{AsyncReadExt, DuplexStream, duplex},
    net::TcpListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

/// Nothing here takes long; what hangs fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Tunnel {
    /// Where clients connect to.
    pub(crate) front: SocketAddr,
    pub(crate) host: Link,
    pub(crate) guest: Link,
    pub(crate) host_driver: JoinHandle<LinkEnd>,
    /// How each connection ended, at either end; none for one that was refused or reset before
    /// its relay began.
    pub(crate) ends: mpsc::UnboundedReceiver<Option<RelayEnd>>,
    _tasks: JoinSet<()>,
}

impl Tunnel {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let ((host, host_incoming, host_driver), (guest, guest_incoming, guest_driver)) =
            link().await;
        let listener = listen().await;
        let front = listener.local_addr().unwrap();
        let (ended, ends) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let host_driver = tokio::spawn(host_driver.run());
        tasks.spawn(async move {
            guest_driver.run().await;
        });
        tasks.spawn(serve_front(listener, host.clone(), ended.clone()));
        tasks.spawn(serve_target(guest_incoming, target, ended));
        drop(host_incoming);
        Self {
            front,
            host,
            guest,
            host_driver,
            ends,
            _tasks: tasks,
        }
    }
}

pub(crate) async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

async fn serve_front(
    listener: TcpListener,
    host: Link,
    ended: mpsc::UnboundedSender<Option<RelayEnd>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (host, ended) = (host.clone(), ended.clone());
        connections.spawn(async move {
            let dial = Dial {
                network: DialNetwork::Tcp,
                host: "localhost".to_owned(),
                port: 1,
            };
            match host.request(&dial).await {
                Ok((_, stream)) => {
                    let end = relay(tcp, stream, &Counters::default()).await;
                    let _ = ended.send(Some(end));
                }
                Err(_) => {
                    reset_tcp(tcp);
                    let _ = ended.send(None);
                }
            }
        });
    }
}

async fn serve_target(
    mut incoming: Incoming,
    target: SocketAddr,
    ended: mpsc::UnboundedSender<Option<RelayEnd>>,
) {
    let mut connections = JoinSet::new();
    while let Some(request) = incoming.next().await {
        assert!(matches!(request.request(), AnyRequest::Dial(_)));
        let ended = ended.clone();
        connections.spawn(async move {
            match connect(target).await {
                Ok(tcp) => {
                    let address = target.to_string();
                    let stream = request.accept::<Dial>(&Dialled { address });
                    let end = relay(tcp, stream, &Counters::default()).await;
                    let _ = ended.send(Some(end));
                }
                Err(error) => {
                    let code = RefusalCode::Unreachable;
                    request.refuse(&Refusal::new(code, error.to_string()));
                    let _ = ended.send(None);
                }
            }
        });
    }
    // The relays of a lost link reset their connections before they are let go.
    while connections.join_next().await.is_some() {}
}

type End = (Link, Incoming, Driver<DuplexStream>);

pub(crate) fn options(identity: &Arc<Identity>) -> LinkOptions {
    LinkOptions {
        identity: Arc::clone(identity),
        version: "0.1.0".to_owned(),
        node: "test".to_owned(),
        boot_id: [1; 16],
        encrypt: Encrypt::Auto,
        locality: link::Locality::Local,
        limits: Limits::default(),
    }
}

async fn link() -> (End, End) {
    let host = Arc::new(Identity::generate().unwrap());
    let guest = Arc::new(Identity::generate().unwrap());
    let (near, far) = duplex(64 * 1024);
    let (host_options, guest_options) = (options(&host), options(&guest));
    let authorized = [host.public_key()];
    let (connected, accepted) = tokio::join!(
        link::connect(near, guest.public_key(), &host_options),
        link::accept(far, &authorized, &guest_options),
    );
    (connected.unwrap(), accepted.unwrap())
}

/// What a program has read from its connection until there was no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) count: usize,
    pub(crate) hash: u64,
    pub(crate) end: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Clean,
    Reset,
    /// Another failure than a reset.
    Other(io::ErrorKind),
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, hash, end } = self;
        write!(formatter, "{count} bytes ({hash:016x}), {end:?}")
    }
}

impl Seen {
    /// What reading exactly `bytes` looks like.
    pub(crate) fn exactly(bytes: &[u8], end: Ending) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let (count, hash) = (bytes.len(), hasher.finish());
        Self { count, hash, end }
    }
}

pub(crate) async fn read_on(reader: &mut (impl AsyncReadExt + Unpin)) -> Seen {
    let mut bytes = Vec::new();
    let end = match reader.read_to_end(&mut bytes).await {
        Ok(_) => Ending::Clean,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ending::Reset,
        Err(error) => Ending::Other(error.kind()),
    };
    Seen::exactly(&bytes, end)
}

/// Bytes that differ between seeds and do not repeat with any power of two.
pub(crate) fn pattern(seed: usize, count: usize) -> Vec<u8> {
    (0..count)
        .map(|at| (at.wrapping_mul(31).wrapping_add(seed * 7) % 251) as u8)
        .collect()
}
