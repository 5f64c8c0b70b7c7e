//! Both ends of a link in one process, over an in-memory pipe or a unix socket, under virtual time.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lkc_protocol::{
    error::{Refusal, RefusalCode},
    handshake::{HandshakeError, Step},
    identity::Identity,
    link::{
        self, ConnectError, Driver, Encrypt, Incoming, Link, LinkEnd, LinkOptions, Locality,
        RequestError, StreamError,
    },
    message::{
        AnyRequest, Dial, DialNetwork, Dialled, Info, InfoAnswer, LogLine, LogSource, Logs,
        LogsAnswer,
    },
    session::Limits,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn options(identity: &Arc<Identity>, encrypt: Encrypt, local: bool) -> LinkOptions {
    LinkOptions {
        identity: Arc::clone(identity),
        version: "0.1.0".to_owned(),
        node: "test".to_owned(),
        boot_id: [1; 16],
        encrypt,
        locality: if local {
            Locality::Local
        } else {
            Locality::Remote
        },
        limits: Limits::default(),
    }
}

type End = (Link, Incoming, Driver<DuplexStream>);

async fn establish(encrypt: Encrypt, local: bool) -> (End, End) {
    let (host, guest) = (
        Arc::new(Identity::generate().unwrap()),
        Arc::new(Identity::generate().unwrap()),
    );
    let (near, far) = duplex(4096);
    let (host_options, guest_options) = (
        options(&host, encrypt, local),
        options(&guest, encrypt, local),
    );
    let authorized = [host.public_key()];
    let (connected, accepted) = tokio::join!(
        link::connect(near, guest.public_key(), &host_options),
        link::accept(far, &authorized, &guest_options),
    );
    (connected.unwrap(), accepted.unwrap())
}

async fn running(encrypt: Encrypt, local: bool) -> ((Link, Incoming), (Link, Incoming)) {
    let ((host, host_incoming, host_driver), (guest, guest_incoming, guest_driver)) =
        establish(encrypt, local).await;
    tokio::spawn(host_driver.run());
    tokio::spawn(guest_driver.run());
    ((host, host_incoming), (guest, guest_incoming))
}

fn dial() -> Dial {
    Dial {
        network: DialNetwork::Tcp,
        host: "localhost".to_owned(),
        port: 80,
    }
}

fn echo(mut incoming: Incoming) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(request) = incoming.next().await {
            assert!(matches!(request.request(), AnyRequest::Dial(_)));
            let mut stream = request.accept::<Dial>(&Dialled {
                address: "127.0.0.1:80".to_owned(),
            });
            tokio::spawn(async move {
                let mut buffer = vec![0; 10_000];
                loop {
                    match stream.read(&mut buffer).await {
                        Ok(0) => break stream.shutdown().await.unwrap(),
                        Ok(count) => stream.write_all(&buffer[..count]).await.unwrap(),
                        Err(_) => break,
                    }
                }
            });
        }
    })
}

#[tokio::test(start_paused = true)]
async fn bytes_come_back_in_order_on_every_kind_of_channel() {
    for (encrypt, local, encrypted) in [
        (Encrypt::Auto, true, false),
        (Encrypt::Always, true, true),
        (Encrypt::Auto, false, true),
    ] {
        let ((host, _), (guest, incoming)) = running(encrypt, local).await;
        assert_eq!(
            (host.is_encrypted(), guest.is_encrypted()),
            (encrypted, encrypted)
        );
        let server = echo(incoming);
        let (answer, stream) = host.request(&dial()).await.unwrap();
        assert_eq!(answer.address, "127.0.0.1:80");
        let sent: Vec<u8> = (0..3_000_000_u32)
            .map(|number| (number % 251) as u8)
            .collect();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let expected = sent.clone();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let read = async { reader.read_to_end(&mut received).await.unwrap() };
        tokio::join!(write, read);
        assert!(
            received == expected,
            "{encrypt:?}: {} of {} bytes",
            received.len(),
            expected.len()
        );
        drop((reader, writer));
        host.close();
        server.await.unwrap();
        assert_eq!(guest.closed().await, LinkEnd::ClosedByPeer);
        assert_eq!(host.closed().await, LinkEnd::Closed);
        assert_eq!((host.stream_count(), guest.stream_count()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_unread_stream_delays_nobody() {
    let ((host, _), (_guest, incoming)) = running(Encrypt::Auto, true).await;
    let _server = echo(incoming);
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let (_, mut stream) = host.request(&dial()).await.unwrap();
        // Until the window and both buffers are full and the write waits.
        let filling = async { while stream.write(&[7; 65536]).await.is_ok() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), filling).await;
        stalled.push(stream);
    }
    let (_, mut stream) = host.request(&dial()).await.unwrap();
    for _ in 0..100 {
        stream.write_all(b"ping").await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_refused_with_their_reason() {
    let ((host, _), (_guest, mut incoming)) = running(Encrypt::Auto, true).await;
    let server = tokio::spawn(async move {
        let refusal = Refusal::new(RefusalCode::Denied, "10.0.0.1 is not allowed");
        incoming.next().await.unwrap().refuse(&refusal);
        drop(incoming.next().await.unwrap());
        incoming
    });
    let refused = host.request(&dial()).await.unwrap_err();
    assert!(
        matches!(&refused, RequestError::Refused(refusal) if refusal.code == RefusalCode::Denied)
    );
    assert_eq!(refused.to_string(), "10.0.0.1 is not allowed");
    let dropped = host.request(&dial()).await.unwrap_err();
    assert!(
        matches!(dropped, RequestError::Refused(refusal) if refusal.code == RefusalCode::Failed)
    );
    drop(server.await.unwrap());
    tokio::task::yield_now().await;
    assert_eq!(host.stream_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_follow_an_answer_and_a_lone_answer_needs_no_stream() {
    let ((host, _), (guest, mut incoming)) = running(Encrypt::Always, false).await;
    tokio::spawn(async move {
        let mut stream = incoming
            .next()
            .await
            .unwrap()
            .accept::<Logs>(&LogsAnswer {});
        for number in 0..1000 {
            stream
                .send(&LogLine {
                    text: format!("line {number}"),
                })
                .await
                .unwrap();
        }
        stream.finish();
        assert!(stream.receive::<LogLine>().await.unwrap().is_none());
        drop(stream);
        let info = InfoAnswer {
            hostname: "k3s-dev".to_owned(),
            os: String::new(),
            kernel: String::new(),
            clock_unix_ms: 1,
            uptime_ms: 2,
            interfaces: Vec::new(),
        };
        incoming.next().await.unwrap().answer::<Info>(&info);
        incoming.next().await
    });
    let logs = Logs {
        source: LogSource::K3s,
        tail: 10,
        follow: false,
    };
    let (_, mut stream) = host.request(&logs).await.unwrap();
    let mut count = 0;
    while let Some(line) = stream.receive::<LogLine>().await.unwrap() {
        assert_eq!(line.text, format!("line {count}"));
        count += 1;
    }
    assert_eq!(count, 1000);
    stream.finish();
    drop(stream);
    let (answer, mut stream) = host.request(&Info {}).await.unwrap();
    assert_eq!(answer.hostname, "k3s-dev");
    assert!(stream.receive::<LogLine>().await.unwrap().is_none());
    drop(stream);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((host.stream_count(), guest.stream_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_carrier_ends_everything_that_waits() {
    let ((host, host_incoming, host_driver), (guest, mut guest_incoming, guest_driver)) =
        establish(Encrypt::Auto, true).await;
    let host_driver = tokio::spawn(host_driver.run());
    let guest_driver = tokio::spawn(guest_driver.run());
    let request = dial();
    let (opened, accepted) = tokio::join!(host.request(&request), async {
        guest_incoming
            .next()
            .await
            .unwrap()
            .accept::<Dial>(&Dialled {
                address: String::new(),
            })
    });
    let (_, mut stream) = opened.unwrap();
    let waiting = tokio::spawn({
        let host = host.clone();
        async move { host.request(&dial()).await.map(|_| ()) }
    });
    let _unanswered = guest_incoming.next().await.unwrap();
    guest_driver.abort();
    assert!(guest_driver.await.unwrap_err().is_cancelled());
    assert!(matches!(host_driver.await.unwrap(), LinkEnd::Lost(_)));
    assert!(matches!(
        waiting.await.unwrap(),
        Err(RequestError::LinkDown)
    ));
    assert!(matches!(
        stream.receive_raw().await,
        Err(StreamError::LinkDown)
    ));
    assert!(matches!(
        stream
            .send(&LogLine {
                text: String::new()
            })
            .await,
        Err(StreamError::LinkDown)
    ));
    assert_eq!(guest.closed().await, LinkEnd::Abandoned);
    assert!(guest.is_closed() && host.is_closed());
    assert!(matches!(
        host.request(&dial()).await,
        Err(RequestError::LinkDown)
    ));
    drop((accepted, host_incoming));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dead_within_ten_seconds_and_an_idle_one_is_not() {
    let ((host, _, host_driver), (guest, _guest_incoming, guest_driver)) =
        establish(Encrypt::Auto, true).await;
    let host_driver = tokio::spawn(host_driver.run());
    let guest_task = tokio::spawn(guest_driver.run());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!host.is_closed() && !guest.is_closed());
    // A peer whose carrier stays open and which says nothing more.
    let ((silent, _, silent_driver), (_other, _other_incoming, other_driver)) =
        establish(Encrypt::Auto, true).await;
    let start = tokio::time::Instant::now();
    let end = silent_driver.run().await;
    assert!(matches!(end, LinkEnd::Violation(_)), "{end}");
    assert!(
        start.elapsed() <= Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    drop((silent, other_driver));
    host_driver.abort();
    guest_task.abort();
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_told_from_each_other() {
    let (host, guest) = (
        Arc::new(Identity::generate().unwrap()),
        Arc::new(Identity::generate().unwrap()),
    );
    let stranger = Identity::generate().unwrap().public_key();
    let (host_options, guest_options) = (
        options(&host, Encrypt::Auto, true),
        options(&guest, Encrypt::Auto, true),
    );

    let (near, far) = duplex(4096);
    let authorized = [host.public_key()];
    let (connected, accepted) = tokio::join!(
        link::connect(near, stranger, &host_options),
        link::accept(far, &authorized, &guest_options),
    );
    match connected.unwrap_err() {
        ConnectError::Handshake {
            source: HandshakeError::WrongKey { found, expected },
            ..
        } => {
            assert_eq!((found, expected), (guest.public_key(), vec![stranger]));
        }
        other => panic!("{other}"),
    }
    accepted.unwrap_err();

    let (near, far) = duplex(4096);
    let authorized = [stranger];
    let (connected, accepted) = tokio::join!(
        link::connect(near, guest.public_key(), &host_options),
        link::accept(far, &authorized, &guest_options),
    );
    match connected.unwrap_err() {
        ConnectError::Handshake {
            source: HandshakeError::KeyRefused { ours },
            ..
        } => assert_eq!(ours, host.public_key()),
        other => panic!("{other}"),
    }
    match accepted.unwrap_err() {
        ConnectError::Handshake {
            source: HandshakeError::WrongKey { found, .. },
            ..
        } => assert_eq!(found, host.public_key()),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_or_something_else_is_given_up() {
    let guest = Arc::new(Identity::generate().unwrap());
    let options = options(&guest, Encrypt::Auto, true);
    let (near, far) = duplex(4096);
    let error = link::accept(near, &[], &options).await.unwrap_err();
    assert!(matches!(
        error,
        ConnectError::Timeout {
            step: Step::Preface,
            ..
        }
    ));
    drop(far);
    let (near, mut far) = duplex(4096);
    far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = link::connect(near, guest.public_key(), &options)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("GET / HTTP/1.1"), "{error}");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(1), far.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        answer.len(),
        lkc_protocol::preface::LENGTH,
        "nothing but a preface is shown to a stranger"
    );
    let _ = Bytes::from(answer);
}

/// On a line without ends, like a serial port, nothing else would tell the other end for seconds.
#[tokio::test(start_paused = true)]
async fn who_finds_a_forged_record_says_so() {
    let (host, guest) = (
        Arc::new(Identity::generate().unwrap()),
        Arc::new(Identity::generate().unwrap()),
    );
    let ((near, line_near), (far, line_far)) = (duplex(65_536), duplex(65_536));
    let (mut from_near, mut to_near) = tokio::io::split(line_near);
    let (mut from_far, mut to_far) = tokio::io::split(line_far);
    let (forge, mut forging) = tokio::sync::oneshot::channel::<()>();
    let there = tokio::spawn(async move {
        let mut bytes = [0; 4096];
        loop {
            let count = from_near.read(&mut bytes).await.unwrap();
            if forging.try_recv().is_ok() {
                bytes[count - 1] ^= 1;
            }
            to_far.write_all(&bytes[..count]).await.unwrap();
        }
    });
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_far, &mut to_near).await });
    let options = [&host, &guest].map(|identity| options(identity, Encrypt::Always, false));
    let authorized = [host.public_key()];
    let (connected, accepted) = tokio::join!(
        link::connect(near, guest.public_key(), &options[0]),
        link::accept(far, &authorized, &options[1]),
    );
    let (host, _host_incoming, host_driver) = connected.unwrap();
    let (guest, _guest_incoming, guest_driver) = accepted.unwrap();
    tokio::spawn(host_driver.run());
    tokio::spawn(guest_driver.run());

    let since = tokio::time::Instant::now();
    forge.send(()).unwrap();
    let asked = host.request(&Info {}).await;
    assert!(matches!(asked, Err(RequestError::LinkDown)), "{asked:?}");
    for end in [host.closed().await, guest.closed().await] {
        assert!(matches!(end, LinkEnd::Lost(_)), "{end}");
    }
    assert!(since.elapsed() < Duration::from_secs(1));
    there.abort();
    back.abort();
}
