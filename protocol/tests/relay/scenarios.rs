//! A client and a server that do something, once directly and once through a link: both programs
//! must see the same.

use std::net::SocketAddr;

use lkc_protocol::relay::RelayEnd;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

use crate::tunnel::{DEADLINE, Ending, Seen, Tunnel, listen, pattern, read_on};

/// Fits into the buffers of a loopback connection, so that it is pending when its sender goes on.
const PENDING: usize = 48 * 1024;

const BULK: usize = 8 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    ClientEndsFirstWithDataPending,
    ServerEndsFirstWithDataPending,
    BothEndAtOnceWithoutData,
    ServerResetsAtOnce,
    ServerResetsAfterARead,
    ServerResetsAfterItsAnswerIsRead,
    ServerClosesWithUnreadData,
    ClientResetsAtOnce,
    ClientResetsAfterARead,
    ClientClosesWithUnreadData,
    ClientResetsAfterItsEnd,
    ServerResetsAfterItsEnd,
    ClientResetsAfterItsEndToAnIdleServer,
    ServerResetsAfterItsEndToAnIdleClient,
    BulkBothWays,
}

use Scenario::*;

pub(crate) const ALL: [Scenario; 15] = [
    ClientEndsFirstWithDataPending,
    ServerEndsFirstWithDataPending,
    BothEndAtOnceWithoutData,
    ServerResetsAtOnce,
    ServerResetsAfterARead,
    ServerResetsAfterItsAnswerIsRead,
    ServerClosesWithUnreadData,
    ClientResetsAtOnce,
    ClientResetsAfterARead,
    ClientClosesWithUnreadData,
    ClientResetsAfterItsEnd,
    ServerResetsAfterItsEnd,
    ClientResetsAfterItsEndToAnIdleServer,
    ServerResetsAfterItsEndToAnIdleClient,
    BulkBothWays,
];

impl Scenario {
    /// Whether an end leaves by a reset.
    pub(crate) fn is_abortive(self) -> bool {
        let name = format!("{self:?}");
        name.contains("Resets") || name.contains("Unread")
    }
}

#[tokio::test]
async fn through_a_link_every_program_sees_what_it_sees_directly() {
    let listener = listen().await;
    let target = listener.local_addr().unwrap();
    let mut tunnel = Tunnel::to(target).await;
    let mut table = Vec::new();
    for scenario in ALL {
        let direct = play(scenario, target, &listener).await;
        let tunnelled = play(scenario, tunnel.front, &listener).await;
        assert_eq!(direct, tunnelled, "{scenario:?}");
        let [client, server] = direct;
        table.push(format!(
            "{scenario:?}: client {}, server {}",
            words(client.as_ref()),
            words(server.as_ref())
        ));
        // The relays at both ends know when it is over, and leave nothing behind.
        for _ in 0..2 {
            let end = timeout(DEADLINE, tunnel.ends.recv()).await;
            let end = end
                .unwrap_or_else(|_| panic!("{scenario:?}: a relay goes on"))
                .unwrap();
            let clean = matches!(end, Some(RelayEnd::Finished));
            assert_eq!(clean, !scenario.is_abortive(), "{scenario:?}: {end:?}");
        }
    }
    assert_eq!(tunnel.host.stream_count(), 0);
    insta::assert_snapshot!(table.join("\n"), @r#"
    ClientEndsFirstWithDataPending: client reads 49152, Clean, server reads 49152, Clean
    ServerEndsFirstWithDataPending: client reads 49152, Clean, server reads 49152, Clean
    BothEndAtOnceWithoutData: client reads 0, Clean, server reads 0, Clean
    ServerResetsAtOnce: client reads 0, Reset, server leaves
    ServerResetsAfterARead: client reads 0, Reset, server leaves
    ServerResetsAfterItsAnswerIsRead: client reads 0, Reset, server leaves
    ServerClosesWithUnreadData: client reads 0, Reset, server leaves
    ClientResetsAtOnce: client leaves, server reads 0, Reset
    ClientResetsAfterARead: client leaves, server reads 0, Reset
    ClientClosesWithUnreadData: client leaves, server reads 0, Reset
    ClientResetsAfterItsEnd: client leaves, server reads 0, Clean
    ServerResetsAfterItsEnd: client reads 0, Clean, server leaves
    ClientResetsAfterItsEndToAnIdleServer: client leaves, server reads 0, Clean
    ServerResetsAfterItsEndToAnIdleClient: client reads 0, Clean, server leaves
    BulkBothWays: client reads 8388608, Clean, server reads 8388608, Clean
    "#);
}

#[tokio::test]
async fn a_refused_target_is_a_reset_and_never_an_empty_success() {
    let listener = listen().await;
    let target = listener.local_addr().unwrap();
    drop(listener);
    let tunnel = Tunnel::to(target).await;
    let mut client = TcpStream::connect(tunnel.front).await.unwrap();
    let seen = timeout(DEADLINE, read_on(&mut client)).await.unwrap();
    assert_eq!(seen, Seen::exactly(b"", Ending::Reset));
    assert_eq!(
        (tunnel.host.stream_count(), tunnel.guest.stream_count()),
        (0, 0)
    );
}

/// What the client and the server have seen; none for a program that reads nothing in the end.
pub(crate) async fn play(
    scenario: Scenario,
    connect_to: SocketAddr,
    listener: &TcpListener,
) -> [Option<Seen>; 2] {
    let turn = Notify::new();
    let both = async {
        let (tcp, accepted) = tokio::join!(TcpStream::connect(connect_to), listener.accept());
        let (client, server) = tokio::join!(
            client(scenario, tcp.unwrap(), &turn),
            server(scenario, accepted.unwrap().0, &turn)
        );
        [client, server]
    };
    timeout(DEADLINE, both)
        .await
        .unwrap_or_else(|_| panic!("{scenario:?} hangs"))
}

async fn client(scenario: Scenario, mut tcp: TcpStream, turn: &Notify) -> Option<Seen> {
    match scenario {
        ClientEndsFirstWithDataPending => {
            tcp.write_all(&pattern(1, PENDING)).await.unwrap();
            tcp.shutdown().await.unwrap();
            turn.notify_one();
            Some(read_on(&mut tcp).await)
        }
        ServerEndsFirstWithDataPending => {
            turn.notified().await;
            let seen = read_on(&mut tcp).await;
            tcp.write_all(&pattern(2, PENDING)).await.unwrap();
            tcp.shutdown().await.unwrap();
            Some(seen)
        }
        BothEndAtOnceWithoutData => {
            tcp.shutdown().await.unwrap();
            Some(read_on(&mut tcp).await)
        }
        ServerResetsAtOnce => Some(read_on(&mut tcp).await),
        ServerResetsAfterARead | ServerClosesWithUnreadData => {
            tcp.write_all(&pattern(3, PENDING)).await.unwrap();
            Some(read_on(&mut tcp).await)
        }
        ServerResetsAfterItsAnswerIsRead => {
            let mut answer = [0; 100];
            tcp.read_exact(&mut answer).await.unwrap();
            turn.notify_one();
            Some(read_on(&mut tcp).await)
        }
        ServerResetsAfterItsEnd => {
            let seen = read_on(&mut tcp).await;
            turn.notify_one();
            // Writes until the reset is noticed.
            while tcp.write_all(&[0; 1024]).await.is_ok() {
                tokio::task::yield_now().await;
            }
            Some(seen)
        }
        ClientResetsAtOnce => {
            turn.notified().await;
            reset(tcp)
        }
        ClientResetsAfterARead => {
            let mut some = [0; 100];
            tcp.read_exact(&mut some).await.unwrap();
            reset(tcp)
        }
        ClientClosesWithUnreadData => {
            assert_eq!(tcp.peek(&mut [0]).await.unwrap(), 1);
            drop(tcp);
            None
        }
        ClientResetsAfterItsEnd => {
            tcp.shutdown().await.unwrap();
            turn.notified().await;
            reset(tcp)
        }
        ClientResetsAfterItsEndToAnIdleServer => {
            tcp.shutdown().await.unwrap();
            turn.notified().await;
            reset(tcp)
        }
        ServerResetsAfterItsEndToAnIdleClient => wait_for_the_reset(tcp, turn).await,
        BulkBothWays => bulk(tcp, 4).await,
    }
}

async fn server(scenario: Scenario, mut tcp: TcpStream, turn: &Notify) -> Option<Seen> {
    match scenario {
        ClientEndsFirstWithDataPending => {
            turn.notified().await;
            let seen = read_on(&mut tcp).await;
            tcp.write_all(&pattern(5, PENDING)).await.unwrap();
            tcp.shutdown().await.unwrap();
            Some(seen)
        }
        ServerEndsFirstWithDataPending => {
            tcp.write_all(&pattern(6, PENDING)).await.unwrap();
            tcp.shutdown().await.unwrap();
            turn.notify_one();
            Some(read_on(&mut tcp).await)
        }
        BothEndAtOnceWithoutData => {
            tcp.shutdown().await.unwrap();
            Some(read_on(&mut tcp).await)
        }
        ServerResetsAtOnce => reset(tcp),
        ServerResetsAfterARead => {
            let mut some = [0; 100];
            tcp.read_exact(&mut some).await.unwrap();
            reset(tcp)
        }
        ServerResetsAfterItsAnswerIsRead => {
            tcp.write_all(&pattern(7, 100)).await.unwrap();
            turn.notified().await;
            reset(tcp)
        }
        ServerClosesWithUnreadData => {
            assert_eq!(tcp.peek(&mut [0]).await.unwrap(), 1);
            drop(tcp);
            None
        }
        ServerResetsAfterItsEnd => {
            tcp.shutdown().await.unwrap();
            turn.notified().await;
            reset(tcp)
        }
        ClientResetsAtOnce => {
            turn.notify_one();
            Some(read_on(&mut tcp).await)
        }
        ClientResetsAfterARead | ClientClosesWithUnreadData => {
            tcp.write_all(&pattern(8, PENDING)).await.unwrap();
            Some(read_on(&mut tcp).await)
        }
        ClientResetsAfterItsEnd => {
            let seen = read_on(&mut tcp).await;
            turn.notify_one();
            while tcp.write_all(&[0; 1024]).await.is_ok() {
                tokio::task::yield_now().await;
            }
            Some(seen)
        }
        ClientResetsAfterItsEndToAnIdleServer => wait_for_the_reset(tcp, turn).await,
        ServerResetsAfterItsEndToAnIdleClient => {
            tcp.shutdown().await.unwrap();
            turn.notified().await;
            reset(tcp)
        }
        BulkBothWays => bulk(tcp, 9).await,
    }
}

/// Has read the other end's end, says nothing, and learns of the reset from the kernel alone.
async fn wait_for_the_reset(mut tcp: TcpStream, turn: &Notify) -> Option<Seen> {
    let seen = read_on(&mut tcp).await;
    assert_eq!(seen, Seen::exactly(b"", Ending::Clean));
    turn.notify_one();
    tcp.ready(Interest::ERROR).await.unwrap();
    Some(read_on(&mut tcp).await)
}

async fn bulk(tcp: TcpStream, seed: usize) -> Option<Seen> {
    let (mut reader, mut writer) = tcp.into_split();
    let bytes = pattern(seed, BULK);
    let write = async {
        writer.write_all(&bytes).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let ((), seen) = tokio::join!(write, read_on(&mut reader));
    Some(seen)
}

fn reset(tcp: TcpStream) -> Option<Seen> {
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    None
}

fn words(seen: Option<&Seen>) -> String {
    seen.map_or_else(
        || "leaves".to_owned(),
        |seen| format!("reads {}, {:?}", seen.count, seen.end),
    )
}
