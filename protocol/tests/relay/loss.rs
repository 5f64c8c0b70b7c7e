//! The loss of the link is a reset for both programs, whatever they have said by then.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::tunnel::{DEADLINE, Ending, Seen, Tunnel, listen, pattern, read_on};

#[tokio::test]
async fn a_lost_link_is_a_reset_at_both_ends_and_never_a_clean_end() {
    for (client_has_ended, server_has_ended) in [(false, false), (true, false), (false, true)] {
        let what = format!("client ended {client_has_ended}, server ended {server_has_ended}");
        let listener = listen().await;
        let tunnel = Tunnel::to(listener.local_addr().unwrap()).await;
        let (client, accepted) = tokio::join!(TcpStream::connect(tunnel.front), listener.accept());
        let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
        begin(&mut client, &mut server, client_has_ended).await;
        begin(&mut server, &mut client, server_has_ended).await;
        tunnel.host_driver.abort();
        for (peer_has_ended, end) in [
            (server_has_ended, &mut client),
            (client_has_ended, &mut server),
        ] {
            if !peer_has_ended {
                let seen = timeout(DEADLINE, read_on(end)).await.unwrap();
                assert_eq!(seen, Seen::exactly(b"", Ending::Reset), "{what}");
            }
        }
    }
}

/// A beginning gets through before the loss, and so does the end of a direction that has ended.
async fn begin(from: &mut TcpStream, to: &mut TcpStream, ends: bool) {
    from.write_all(b"beginning").await.unwrap();
    let mut beginning = [0; 9];
    to.read_exact(&mut beginning).await.unwrap();
    if ends {
        from.shutdown().await.unwrap();
        let seen = timeout(DEADLINE, read_on(to)).await.unwrap();
        assert_eq!(seen, Seen::exactly(b"", Ending::Clean));
    }
}

#[tokio::test]
async fn a_link_lost_within_a_transfer_leaves_an_exact_prefix_and_a_reset() {
    const WHOLE: usize = 64 * 1024 * 1024;
    let listener = listen().await;
    let tunnel = Tunnel::to(listener.local_addr().unwrap()).await;
    let (client, accepted) = tokio::join!(TcpStream::connect(tunnel.front), listener.accept());
    let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
    let chunk = pattern(1, 64 * 1024);
    let send = async {
        let mut left = WHOLE / chunk.len();
        while left > 0 && server.write_all(&chunk).await.is_ok() {
            left -= 1;
        }
        left
    };
    let receive = async {
        let mut received = vec![0; 1024 * 1024];
        client.read_exact(&mut received).await.unwrap();
        tunnel.host_driver.abort();
        let result = client.read_to_end(&mut received).await;
        (received, result)
    };
    let both = async { tokio::join!(send, receive) };
    let (unsent, (received, result)) = timeout(DEADLINE, both).await.unwrap();
    assert!(unsent > 0, "the link was lost before the end");
    let error = result.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(received.len() < WHOLE);
    for (at, piece) in received.chunks(chunk.len()).enumerate() {
        assert!(piece == &chunk[..piece.len()], "chunk {at} differs");
    }
}

#[tokio::test]
async fn relays_that_are_dropped_are_resets_too() {
    let listener = listen().await;
    let tunnel = Tunnel::to(listener.local_addr().unwrap()).await;
    let (client, accepted) = tokio::join!(TcpStream::connect(tunnel.front), listener.accept());
    let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
    begin(&mut client, &mut server, false).await;
    drop(tunnel);
    for end in [&mut client, &mut server] {
        let seen = timeout(DEADLINE, read_on(end)).await.unwrap();
        assert_eq!(seen, Seen::exactly(b"", Ending::Reset));
    }
}
