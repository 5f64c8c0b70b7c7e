//! Connections that the guest hands to the host: programs see what they see directly, and what
//! could be taken for the guest's is not.

use std::{
    io::IoSlice,
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    handover::{self, Connection, DialError, Giver, HandoverCarrier, HandoverError, Taker, dial},
    identity::Identity,
    link::{self, Encrypt, Incoming, Link, RequestError},
    message::{AnyRequest, Dial, DialNetwork, Dialled, HandOver, HandedOver},
    relay::{Counters, JoinEnd, connect, join, relay, reset_tcp},
};
use rustix::{
    cmsg_space,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::{
    scenarios::{ALL, play},
    tunnel::{DEADLINE, listen, options},
};

/// Two ends of a link over a unix socket.
struct Pair {
    host: Link,
    guest: Link,
    taker: Option<Taker>,
    giver: Option<Giver>,
    incoming: Incoming,
    tasks: JoinSet<()>,
}

impl Pair {
    async fn new(encrypt: Encrypt) -> Self {
        let (near, far) = UnixStream::pair().unwrap();
        Self::over(near, far, encrypt).await
    }

    async fn over(near: UnixStream, far: UnixStream, encrypt: Encrypt) -> Self {
        let host = Arc::new(Identity::generate().unwrap());
        let guest = Arc::new(Identity::generate().unwrap());
        let (mut host_options, guest_options) = (options(&host), options(&guest));
        host_options.encrypt = encrypt;
        let (near, expected) = handover::take(near);
        let (far, offered) = handover::offer(far).unwrap();
        let authorized = [host.public_key()];
        let (connected, accepted) = tokio::join!(
            link::connect(near, guest.public_key(), &host_options),
            link::accept(far, &authorized, &guest_options),
        );
        let (host, _, host_driver) = connected.unwrap();
        let (guest, incoming, guest_driver) = accepted.unwrap();
        let mut tasks = JoinSet::new();
        for driver in [host_driver, guest_driver] {
            let driver: link::Driver<HandoverCarrier> = driver;
            tasks.spawn(async move {
                driver.run().await;
            });
        }
        Self {
            taker: expected.bind(&host),
            giver: offered.bind(&guest),
            host,
            guest,
            incoming,
            tasks,
        }
    }
}

/// Answers as a guest does.
async fn serve(mut incoming: Incoming, giver: Option<Giver>, target: SocketAddr) {
    let mut relays = JoinSet::new();
    while let Some(request) = incoming.next().await {
        let connection = match connect(target).await {
            Ok(connection) => connection,
            // A target may reset, with no byte sent, before the connection is known to stand.
            Err(error) => {
                let code = RefusalCode::Unreachable;
                request.refuse(&Refusal::new(code, error.to_string()));
                continue;
            }
        };
        match (request.request(), &giver) {
            (AnyRequest::HandOver(_), Some(giver)) => {
                match giver.give(&connection, target.to_string()) {
                    Ok(answer) => request.answer::<HandOver>(&answer),
                    Err(refusal) => request.refuse(&refusal),
                }
            }
            (AnyRequest::Dial(_), _) => {
                let address = target.to_string();
                let stream = request.accept::<Dial>(&Dialled { address });
                relays.spawn(async move {
                    relay(connection, stream, &Counters::default()).await;
                });
            }
            _ => request.refuse(&Refusal::new(RefusalCode::Unsupported, "no handover")),
        }
    }
}

fn target() -> Dial {
    Dial {
        network: DialNetwork::Tcp,
        host: "localhost".to_owned(),
        port: 1,
    }
}

#[tokio::test]
async fn every_program_sees_what_it_sees_directly() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let mut pair = Pair::new(Encrypt::Auto).await;
    pair.tasks.spawn(serve(pair.incoming, pair.giver, address));
    let front = listen().await;
    let entrance = front.local_addr().unwrap();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let (host, taker) = (pair.host.clone(), Arc::new(pair.taker.unwrap()));
    pair.tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = front.accept().await {
            let (host, taker, ended) = (host.clone(), Arc::clone(&taker), ended.clone());
            connections.spawn(async move {
                let end = match dial(&host, Some(&taker), &target()).await {
                    Ok(Connection::Socket(target)) => {
                        Some(join(client, target, &Counters::default()).await)
                    }
                    Err(DialError::Request(RequestError::Refused(_))) => {
                        reset_tcp(client);
                        None
                    }
                    other => panic!("{other:?}"),
                };
                ended.send(end).unwrap();
            });
        }
    });
    for scenario in ALL {
        let direct = play(scenario, address, &listener).await;
        let handed_over = play(scenario, entrance, &listener).await;
        assert_eq!(direct, handed_over, "{scenario:?}");
        let end = timeout(DEADLINE, ends.recv()).await;
        let end = end
            .unwrap_or_else(|_| panic!("{scenario:?}: it goes on"))
            .unwrap();
        let clean = matches!(end, Some(JoinEnd::Finished));
        assert_eq!(clean, !scenario.is_abortive(), "{scenario:?}: {end:?}");
    }
    // The link carried requests and no connection.
    timeout(DEADLINE, async {
        while pair.host.stream_count() + pair.guest.stream_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_connection_that_was_handed_over_survives_the_link() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let mut pair = Pair::new(Encrypt::Auto).await;
    pair.tasks.spawn(serve(pair.incoming, pair.giver, address));
    let dialled = dial(&pair.host, pair.taker.as_ref(), &target()).await;
    let Ok(Connection::Socket(mut client)) = dialled else {
        panic!("{dialled:?}");
    };
    let (mut server, _) = listener.accept().await.unwrap();
    pair.tasks.shutdown().await;
    pair.host.closed().await;
    client.write_all(b"still").await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still");
}

#[tokio::test]
async fn an_encrypted_link_hands_nothing_over() {
    let pair = Pair::new(Encrypt::Always).await;
    assert!(pair.taker.is_none());
    assert!(pair.giver.is_none());
}

/// A proxy passes bytes on and nothing else.
#[tokio::test]
async fn where_the_pair_is_lost_bytes_travel_on_the_link() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let (near, mut near_proxy) = UnixStream::pair().unwrap();
    let (mut far_proxy, far) = UnixStream::pair().unwrap();
    let proxy = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut near_proxy, &mut far_proxy).await;
    });
    let mut pair = Pair::over(near, far, Encrypt::Auto).await;
    assert!(pair.taker.is_none());
    pair.tasks.spawn(serve(pair.incoming, pair.giver, address));
    let dialled = dial(&pair.host, pair.taker.as_ref(), &target()).await;
    assert!(matches!(dialled, Ok(Connection::Stream(_))), "{dialled:?}");
    proxy.abort();
}

/// Whoever sits between the ends can keep the pair, but has no proof.
#[tokio::test]
async fn a_guest_that_is_none_is_not_listened_to() {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let (near, mut near_proxy) = UnixStream::pair().unwrap();
    let (far_proxy, far) = UnixStream::pair().unwrap();
    let (forged, forged_end) = std::os::unix::net::UnixDatagram::pair().unwrap();
    // Passes the guest's first bytes on with a pair of its own.
    let proxy = tokio::spawn(async move {
        let mut far_proxy = far_proxy;
        let mut preface = [0; 32];
        near_proxy.read_exact(&mut preface).await.unwrap();
        far_proxy.write_all(&preface).await.unwrap();
        let mut answer = [0; 32];
        far_proxy.read_exact(&mut answer).await.unwrap();
        send(near_proxy.as_fd(), &answer, Some(forged_end.as_fd()));
        let _ = tokio::io::copy_bidirectional(&mut near_proxy, &mut far_proxy).await;
    });
    let mut pair = Pair::over(near, far, Encrypt::Auto).await;
    let taker = pair.taker.as_ref().unwrap();
    send(forged.as_fd(), &[7; 32], None);
    let refused = taker.take(&HandedOver {
        number: 0,
        address: String::new(),
    });
    assert!(
        matches!(refused, Err(HandoverError::NotTheGuest)),
        "{refused:?}"
    );
    // The guest has not seen the host's proof either, and the connection goes by the link.
    pair.tasks.spawn(serve(pair.incoming, pair.giver, address));
    let dialled = dial(&pair.host, pair.taker.as_ref(), &target()).await;
    assert!(matches!(dialled, Ok(Connection::Stream(_))), "{dialled:?}");
    proxy.abort();
}

/// The guest as an attacker: it holds the keys, and says what it likes.
#[tokio::test]
async fn an_answer_without_a_connection_is_an_error() {
    let (near, far) = UnixStream::pair().unwrap();
    let host = Arc::new(Identity::generate().unwrap());
    let guest = Arc::new(Identity::generate().unwrap());
    let (host_options, guest_options) = (options(&host), options(&guest));
    let (near, expected) = handover::take(near);
    let (far, _offered) = handover::offer(far).unwrap();
    let authorized = [host.public_key()];
    let (connected, accepted) = tokio::join!(
        link::connect(near, guest.public_key(), &host_options),
        link::accept(far, &authorized, &guest_options),
    );
    let (host, _, host_driver) = connected.unwrap();
    let (_guest, mut incoming, guest_driver) = accepted.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        host_driver.run().await;
    });
    tasks.spawn(async move {
        guest_driver.run().await;
    });
    let taker = expected.bind(&host).unwrap();
    tasks.spawn(async move {
        // Answers without handing anything over.
        while let Some(request) = incoming.next().await {
            request.answer::<HandOver>(&HandedOver {
                number: 3,
                address: "127.0.0.1:1".to_owned(),
            });
        }
    });
    let dialled = dial(&host, Some(&taker), &target()).await;
    assert!(
        matches!(dialled, Err(DialError::Handover(HandoverError::Missing(3)))),
        "{dialled:?}"
    );
}

fn send(to: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    sendmsg(to, &[IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}
