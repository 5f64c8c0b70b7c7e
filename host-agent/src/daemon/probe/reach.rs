//! Tries any forward once: a connection through its own listener, to see whether its target accepts.
//!
//! Nothing is said to a target of TCP. One of UDP gets a datagram of no bytes, since nothing less
//! leaves a trace; that it is taken says only that nobody has refused it. SOCKS is asked for the API
//! server's port on the node.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket, UnixStream},
    time::timeout,
};

use super::{
    super::forwarder::{Caller, Layer, OwnConnection, Place, WayIn},
    check::socket_to,
    millis,
};
use crate::{
    config::{ForwardProtocol, ForwardSpec},
    control::ForwardCheck,
};

/// How long a refusal of a datagram may take to come back.
const REFUSAL: Duration = Duration::from_millis(500);

/// Greeting without authentication, then CONNECT to 127.0.0.1:6443.
const SOCKS_REQUEST: [u8; 13] = [5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0x19, 0x2b];

/// Why a forward does not lead to its target.
struct Broken {
    layer: Layer,
    why: String,
}

/// What a client holds of a connection while it is judged.
enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
    Udp(UdpSocket),
}

/// Tries each listener of a forward. `deadline` is for each of them.
pub(in super::super) async fn reach(
    spec: &ForwardSpec,
    way_in: &WayIn,
    deadline: Duration,
) -> Vec<ForwardCheck> {
    let mut checks = Vec::new();
    for place in &way_in.places {
        let began = Instant::now();
        let outcome = reach_through(spec, way_in, place, deadline).await;
        let latency = began.elapsed();
        let (ok, layer, detail) = match outcome {
            Ok(detail) => (true, None, detail.to_owned()),
            Err(Broken { layer, why }) => (false, Some(layer.to_string()), why),
        };
        checks.push(ForwardCheck {
            name: spec.name.clone(),
            protocol: spec.protocol,
            listen: place.to_string(),
            target: spec.target(),
            ok,
            layer,
            detail,
            latency_ms: ok.then(|| millis(latency)),
        });
    }
    checks
}

async fn reach_through(
    spec: &ForwardSpec,
    way_in: &WayIn,
    place: &Place,
    deadline: Duration,
) -> Result<&'static str, Broken> {
    let attempt = connect(spec.protocol, way_in, place);
    let (client, mut own) = match timeout(deadline, attempt).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Err(host(format!("cannot be connected to: {error}"))),
        Err(_) => {
            return Err(host(silent(
                "the listener does not take connections",
                deadline,
            )));
        }
    };
    let client = match client {
        Ok(client) => Some(client),
        // Given up by the listener before we could look: it knows why.
        Err(_) if own.was_taken() => None,
        Err(error) => return Err(host(format!("cannot be connected to: {error}"))),
    };
    let Ok(reached) = timeout(deadline, own.reached()).await else {
        return Err(blame_silence(&own, deadline));
    };
    if !reached {
        return Err(why_not(&own));
    }
    match client {
        Some(Client::Udp(socket)) => {
            let refused = timeout(REFUSAL, own.refused()).await.is_ok();
            drop(socket);
            if refused {
                return Err(why_not(&own));
            }
            Ok("a datagram was sent and not refused; whether anybody answers is not known")
        }
        Some(Client::Tcp(tcp)) => {
            drop(tcp);
            Ok(accepts(spec.protocol))
        }
        Some(Client::Unix(unix)) => {
            drop(unix);
            Ok(accepts(spec.protocol))
        }
        None => Ok(accepts(spec.protocol)),
    }
}

const fn accepts(protocol: ForwardProtocol) -> &'static str {
    match protocol {
        ForwardProtocol::Socks => "the API server's port was reached by SOCKS",
        ForwardProtocol::Tcp | ForwardProtocol::Udp => "the target accepts",
    }
}

async fn connect(
    protocol: ForwardProtocol,
    way_in: &WayIn,
    place: &Place,
) -> io::Result<(io::Result<Client>, OwnConnection)> {
    let address = match place {
        Place::Address(address) => *address,
        Place::Socket(path) => {
            let own = way_in.own.expect(Caller::ThisProcess);
            let unix = UnixStream::connect(path).await?;
            return Ok((Ok(Client::Unix(unix)), own));
        }
    };
    if protocol == ForwardProtocol::Udp {
        let (client, own) = send_nothing(way_in, address).await?;
        return Ok((Ok(client), own));
    }
    let socket = socket_to(address)?;
    let own = way_in.own.expect(Caller::At(socket.local_addr()?));
    let ask = async {
        let mut tcp = socket.connect(address).await?;
        if protocol == ForwardProtocol::Socks {
            tcp.write_all(&SOCKS_REQUEST).await?;
        }
        Ok(Client::Tcp(tcp))
    };
    Ok((ask.await, own))
}

async fn send_nothing(way_in: &WayIn, address: SocketAddr) -> io::Result<(Client, OwnConnection)> {
    let socket = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).await?;
    let own = way_in.own.expect(Caller::At(socket.local_addr()?));
    socket.send_to(&[], address).await?;
    Ok((Client::Udp(socket), own))
}

/// What was noted of a connection that our listener gave up.
fn why_not(own: &OwnConnection) -> Broken {
    let noted = own.counters().last_failure();
    let (layer, why) = noted.unwrap_or_else(|| {
        let why = "the connection ended before it was made";
        (Layer::Host, why.to_owned())
    });
    Broken { layer, why }
}

/// What it says that nothing happened at all.
fn blame_silence(own: &OwnConnection, deadline: Duration) -> Broken {
    if !own.was_taken() {
        return host(silent("another process answers, or nobody", deadline));
    }
    let (layer, what) = if own.counters().is_parked() {
        (Layer::Carrier, "parked: there is no link to the guest")
    } else {
        (Layer::Agent, "it does not answer the dial")
    };
    Broken {
        layer,
        why: silent(what, deadline),
    }
}

const fn host(why: String) -> Broken {
    let layer = Layer::Host;
    Broken { layer, why }
}

fn silent(what: &str, deadline: Duration) -> String {
    format!("{what} within {} ms", deadline.as_millis())
}
