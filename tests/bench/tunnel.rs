//! Our tunnel in two processes: the host's end listens and dials through the link as the daemon's
//! forwarder does, the guest's end connects and relays as the guest agent does. Runtimes as theirs.

use std::{
    io::{BufRead, Write},
    net::SocketAddr,
    os::fd::AsRawFd,
    path::PathBuf,
    sync::Arc,
    thread,
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    handover::{self, Connection, Giver, Taker, dial},
    identity::{Identity, PublicKey},
    link::{self, Driver, Encrypt, Incoming, IncomingRequest, Link, LinkOptions},
    message::{AnyRequest, Dial, DialNetwork, Dialled, HandOver},
    relay::{self, Counters, join, relay, reset_tcp},
    session::Limits,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    runtime::{Builder, Runtime},
    sync::oneshot,
    task::JoinSet,
};

use crate::Failure;

/// Half of the descriptors that the benchmark allows its processes.
const DESCRIPTORS: i32 = 10_000;

/// What joins the two processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Carrier {
    /// A unix socket at this path. Local: it may go on in plain.
    Unix(PathBuf),
    /// A TCP connection to this address. Always encrypted.
    Tcp(SocketAddr),
}

/// What the guest's end is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GuestOrder {
    pub(crate) identity: String,
    pub(crate) host_key: String,
    pub(crate) carrier: Carrier,
    pub(crate) encrypt: bool,
}

/// What the host's end is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HostOrder {
    pub(crate) identity: String,
    pub(crate) guest_key: String,
    pub(crate) carrier: Carrier,
    pub(crate) encrypt: bool,
    /// Whether to take the connections that the guest hands over.
    pub(crate) handover: bool,
    pub(crate) target: SocketAddr,
}

/// The guest's end: answers with the address of its carrier.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn guest() -> Result<(), Failure> {
    let (order, ended): (GuestOrder, _) = order()?;
    let host_key = key(&order.host_key)?;
    let options = options(&order.identity, &order.carrier, order.encrypt)?;
    until_ended(Builder::new_current_thread(), ended, async move {
        match order.carrier {
            Carrier::Unix(path) => {
                let listener =
                    UnixListener::bind(path).map_err(Failure::to("listen for the host"))?;
                answer("listening")?;
                let accepted = listener.accept().await;
                let (carrier, _) = accepted.map_err(Failure::to("accept the host"))?;
                let offered = handover::offer(carrier);
                let (carrier, offered) = offered.map_err(Failure::to("offer a handover"))?;
                let accepted = link::accept(carrier, &[host_key], &options).await;
                let (link, incoming, driver) = accepted.map_err(candidate)?;
                serve_requests(incoming, driver, offered.bind(&link).map(Arc::new)).await;
                Ok(())
            }
            Carrier::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                let listener = listener.map_err(Failure::to("listen for the host"))?;
                let address = listener.local_addr().map_err(Failure::to("listen"))?;
                answer(&address.to_string())?;
                let accepted = listener.accept().await;
                let (carrier, _) = accepted.map_err(Failure::to("accept the host"))?;
                let _ = carrier.set_nodelay(true);
                let accepted = link::accept(carrier, &[host_key], &options).await;
                let (_link, incoming, driver) = accepted.map_err(candidate)?;
                serve_requests(incoming, driver, None).await;
                Ok(())
            }
        }
    })
}

/// The host's end: answers with the address that it forwards.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn host() -> Result<(), Failure> {
    let (order, ended): (HostOrder, _) = order()?;
    let guest_key = key(&order.guest_key)?;
    let options = options(&order.identity, &order.carrier, order.encrypt)?;
    until_ended(Builder::new_multi_thread(), ended, async move {
        match order.carrier {
            Carrier::Unix(path) => {
                let carrier = UnixStream::connect(path).await;
                let carrier = carrier.map_err(Failure::to("reach the guest"))?;
                let (carrier, expected) = handover::take(carrier);
                let connected = link::connect(carrier, guest_key, &options).await;
                let (link, _incoming, driver) = connected.map_err(candidate)?;
                let taker = expected.bind(&link).filter(|_| order.handover);
                forward(driver, link, taker.map(Arc::new), order.target).await
            }
            Carrier::Tcp(address) => {
                let carrier = TcpStream::connect(address).await;
                let carrier = carrier.map_err(Failure::to("reach the guest"))?;
                let _ = carrier.set_nodelay(true);
                let connected = link::connect(carrier, guest_key, &options).await;
                let (link, _incoming, driver) = connected.map_err(candidate)?;
                forward(driver, link, None, order.target).await
            }
        }
    })
}

async fn serve_requests<C>(mut incoming: Incoming, driver: Driver<C>, giver: Option<Arc<Giver>>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        driver.run().await;
    });
    let mut requests = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = requests.join_next() => {}
            request = incoming.next() => match request {
                Some(request) => {
                    requests.spawn(connect(request, giver.clone()));
                }
                None => return,
            },
        }
    }
}

async fn connect(request: IncomingRequest, giver: Option<Arc<Giver>>) {
    let (target, giver) = match (request.request(), &giver) {
        (AnyRequest::Dial(target), _) => (target, None),
        (AnyRequest::HandOver(wanted), Some(giver)) => (&wanted.target, Some(giver)),
        _ => {
            let text = "only Dial is served";
            return request.refuse(&Refusal::new(RefusalCode::Unsupported, text));
        }
    };
    let Ok(address) = format!("{}:{}", target.host, target.port).parse::<SocketAddr>() else {
        return request.refuse(&Refusal::new(RefusalCode::Invalid, "not an address"));
    };
    match relay::connect(address).await {
        Ok(connection) if let Some(giver) = giver => {
            match giver.give(&connection, address.to_string()) {
                Ok(answer) => request.answer::<HandOver>(&answer),
                Err(refusal) => request.refuse(&refusal),
            }
        }
        Ok(connection) => {
            let stream = request.accept::<Dial>(&Dialled {
                address: address.to_string(),
            });
            relay(connection, stream, &Counters::default()).await;
        }
        Err(error) => request.refuse(&Refusal::new(RefusalCode::Unreachable, error.to_string())),
    }
}

async fn forward<C>(
    driver: Driver<C>,
    link: Link,
    taker: Option<Arc<Taker>>,
    target: SocketAddr,
) -> Result<(), Failure>
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        driver.run().await;
    });
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.map_err(Failure::to("listen"))?;
    let address = listener.local_addr().map_err(Failure::to("listen"))?;
    answer(&address.to_string())?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (tcp, _) = accepted.map_err(Failure::to("accept"))?;
                connections.spawn(forward_one(tcp, link.clone(), taker.clone(), target));
            }
            Some(_) = connections.join_next() => {}
            end = link.closed() => return Err(Failure::Candidate(format!("the link ended: {end}"))),
        }
    }
}

async fn forward_one(tcp: TcpStream, link: Link, taker: Option<Arc<Taker>>, target: SocketAddr) {
    // As the daemon does: a second descriptor is taken while they are plenty.
    let taker = taker.filter(|_| tcp.as_raw_fd() < DESCRIPTORS);
    let request = Dial {
        network: DialNetwork::Tcp,
        host: target.ip().to_string(),
        port: target.port(),
    };
    match dial(&link, taker.as_deref(), &request).await {
        Ok(Connection::Stream(stream)) => {
            relay(tcp, stream, &Counters::default()).await;
        }
        Ok(Connection::Socket(target)) => {
            join(tcp, target, &Counters::default()).await;
        }
        Err(_) => reset_tcp(tcp),
    }
}

fn options(identity: &str, carrier: &Carrier, encrypt: bool) -> Result<LinkOptions, Failure> {
    Ok(LinkOptions {
        identity: Arc::new(Identity::from_pem(identity).map_err(candidate)?),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: "bench".to_owned(),
        boot_id: [0; 16],
        encrypt: if encrypt {
            Encrypt::Always
        } else {
            Encrypt::Auto
        },
        locality: match carrier {
            Carrier::Unix(_) => link::Locality::Local,
            Carrier::Tcp(_) => link::Locality::Remote,
        },
        limits: Limits::default(),
    })
}

fn key(text: &str) -> Result<PublicKey, Failure> {
    text.parse().map_err(candidate)
}

fn candidate(error: impl std::fmt::Display) -> Failure {
    Failure::Candidate(error.to_string())
}

/// The order on standard input, and what tells that whoever gave it has closed the other end.
pub(crate) fn order<T: DeserializeOwned>() -> Result<(T, oneshot::Receiver<()>), Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(Failure::to("read the order"))?;
    let order = serde_json::from_str(&line).map_err(candidate)?;
    let (sender, receiver) = oneshot::channel();
    // Ends with the process at the latest.
    thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(sender);
    });
    Ok((order, receiver))
}

/// Says that we are ready, and where.
pub(crate) fn answer(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(Failure::to("answer"))
}

/// Runs `serving` until it fails or the order's giver is gone.
pub(crate) fn until_ended(
    mut builder: Builder,
    ended: oneshot::Receiver<()>,
    serving: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let runtime: Runtime = builder
        .enable_all()
        .build()
        .map_err(Failure::to("start the runtime"))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = serving => result,
            _ = ended => Ok(()),
        }
    });
    runtime.shutdown_background();
    result
}
