//! A guest that puts a descriptor on its carrier which takes long to close.

use std::{
    io::{IoSlice, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd,
};

use lkc_protocol::identity::Identity;
use rustix::{
    cmsg_space,
    net::{
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt::set_socket_linger,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
};

use super::{super::hands::Hands, *};
use crate::{carrier::Carrier, daemon::guest_link::Credentials};

/// How long the guest has the closing of its descriptor take.
const LINGER: Duration = Duration::from_secs(60);

/// More than a host skips in front of a preface.
const NOISE: usize = 200 * 1024;

/// A connection that is full, with the one end that could empty it: closing it waits for that.
fn full_connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    connection.set_nonblocking(true).unwrap();
    while connection.write(&[0; 64 * 1024]).is_ok() {}
    set_socket_linger(&connection, Some(LINGER)).unwrap();
    (connection, other)
}

/// Goes to the system for readiness, as everything does that the daemon serves.
async fn go_on() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let mut near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    for byte in 0..100 {
        near.write_u8(byte).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), byte);
        far.write_u8(byte).await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), byte);
    }
}

/// The kernel closes what came with bytes that are read without it, in the middle of the read.
#[tokio::test]
async fn a_guest_that_makes_reading_its_carrier_slow_holds_nobody_else_up() {
    let start = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (events, mut reports) = mpsc::channel(4);
    let cluster: ClusterName = "k3s-dev".parse().unwrap();
    let reporter = Reporter {
        cluster: cluster.clone(),
        run: 1,
        events,
    };
    let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
    let mut hands = Hands::new(cluster, Arc::default(), tasks.clone(), token);
    let credentials = Credentials {
        identity: Arc::new(Identity::generate().unwrap()),
        guest: Identity::generate().unwrap().public_key(),
        boot_id: [1; 16],
    };
    let connecting = hands.connect(
        vec![Carrier::Unix(path).into()],
        &spec("k3s-dev", 0),
        credentials,
        &reporter,
    );
    assert!(connecting.is_none(), "{connecting:?}");
    let (mut carrier, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();

    let (connection, other) = full_connection();
    let descriptors = [connection.as_fd()];
    carrier.write_all(b"first").await.unwrap();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let second = [IoSlice::new(b"second")];
    sendmsg(&carrier, &second, &mut control, SendFlags::empty()).unwrap();
    // Whoever closes it last waits: the host, unless its threads were quicker than this one.
    let letting_go = std::thread::spawn(move || drop(connection));
    let sent = Instant::now();
    while !letting_go.is_finished() && sent.elapsed() < Duration::from_millis(200) {
        std::thread::yield_now();
    }
    let noise = tokio::spawn(async move {
        // It breaks off once the host has had enough.
        let _ = carrier.write_all(&[b'?'; NOISE]).await;
        carrier
    });
    go_on().await;
    drop(other);
    let event = timeout(LIMIT, reports.recv()).await.expect("no report");
    let Some(Event::Reported { report, .. }) = event else {
        panic!("{event:?}");
    };
    assert!(matches!(report, Report::LinkFailed { .. }), "{report:?}");
    assert!(start.elapsed() < LINGER, "everybody waited");
    letting_go.join().unwrap();
    drop(noise);
    drop(hands);
    tasks.close();
    timeout(LIMIT, tasks.wait()).await.expect("a task is left");
}
