//! TCP, to whichever address of a name answers first.

mod prompt;

use std::{io, net::SocketAddr, time::Duration};

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{sleep, timeout},
};

use self::prompt::Prompt;
use super::{ConnectFailure, ConnectedCarrier};

/// How long an address may keep the next one waiting.
const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried, at most.
const MAX_ADDRESSES: usize = 8;

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_secs(8);

/// Seconds without a byte after which the kernel asks the other end whether it is there, and
/// between its questions. The link's own pings come sooner while a link stands; this ends what
/// stays behind on a path that was lost.
const KEEPALIVE: u32 = 15;

/// Connects to `port` of `host`.
///
/// # Errors
/// Absent when every address refuses; the last address' failure otherwise.
pub(super) async fn connect(host: &str, port: u16) -> Result<ConnectedCarrier, ConnectFailure> {
    let silent = |_| ConnectFailure::Silent {
        what: "the address",
        seconds: DEADLINE.as_secs(),
    };
    let stream = timeout(DEADLINE, resolve_and_connect(host, port))
        .await
        .map_err(silent)??;
    prepare(&stream).map_err(ConnectFailure::System)?;
    Ok(ConnectedCarrier::remote(Prompt::new(stream)))
}

async fn resolve_and_connect(host: &str, port: u16) -> Result<TcpStream, ConnectFailure> {
    let unresolved = |source| ConnectFailure::Resolve {
        host: host.to_owned(),
        source,
    };
    let found = lookup_host((host, port)).await.map_err(unresolved)?;
    let addresses = in_turn(found);
    if addresses.is_empty() {
        return Err(unresolved(io::ErrorKind::NotFound.into()));
    }
    first_of(&addresses)
        .await
        .map_err(ConnectFailure::of_socket)
}

/// The two families by turns, the resolver's favourite first.
fn in_turn(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let favourite = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (ours, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == favourite);
    let mut others = others.into_iter();
    let mut ordered = Vec::new();
    for address in ours {
        ordered.push(address);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered.truncate(MAX_ADDRESSES);
    ordered
}

/// Connects to all, each a head start after the one before it or when that one has failed. Those
/// that come too late are dropped.
async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.iter();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let next = waiting.next();
        if let Some(&address) = next {
            attempts.spawn(TcpStream::connect(address));
        }
        let head_start = async {
            match next {
                Some(_) => sleep(HEAD_START).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last = error,
                Some(Err(error)) => last = io::Error::other(error),
                None => return Err(last),
            },
            () = head_start => {}
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    #[cfg(target_os = "linux")]
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE)?;
    #[cfg(target_os = "macos")]
    setsockopt(stream, sockopt::TcpKeepAlive, &KEEPALIVE)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::getsockopt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn families_take_turns() {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let expected = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(in_turn(found.into_iter()), expected);
        let many = (1..=40).map(|last| SocketAddr::from(([10, 0, 0, last], 1)));
        assert_eq!(in_turn(many).len(), MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn an_address_that_refuses_does_not_hold_the_next_one_up() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [refusing, listener.local_addr().unwrap()];
        let (connected, accepted) = timeout(LIMIT, async {
            tokio::join!(first_of(&addresses), listener.accept())
        })
        .await
        .unwrap();
        assert_eq!(
            connected.unwrap().local_addr().unwrap(),
            accepted.unwrap().1
        );
        let refused = first_of(&[refusing, refusing]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn bytes_pass_at_once_and_a_lost_path_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connected, accepted) = tokio::join!(connect("localhost", port), listener.accept());
        let (mut near, mut far) = (connected.unwrap().stream, accepted.unwrap().0);
        near.write_all(b"x").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'x');
        let (stream, _) = tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        let stream = stream.unwrap();
        prepare(&stream).unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(
            getsockopt(&stream, sockopt::TcpKeepInterval).unwrap(),
            KEEPALIVE
        );
    }

    #[tokio::test]
    async fn a_port_without_a_listener_is_absent() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = closed.local_addr().unwrap().port();
        drop(closed);
        let failure = connect("127.0.0.1", port).await.unwrap_err();
        assert!(failure.is_absent(), "{failure:?}");
    }
}
