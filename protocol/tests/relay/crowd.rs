//! Many connections over one link: what happens to one of them happens to no other.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
    task::JoinSet,
    time::timeout,
};

use crate::tunnel::{DEADLINE, Ending, Seen, Tunnel, listen, pattern, read_on};

const CROWD: usize = 200;
const ABORTED: usize = 77;
const EACH: usize = 40_000;

#[tokio::test]
async fn one_of_two_hundred_is_aborted_and_the_others_are_exact() {
    let listener = listen().await;
    let tunnel = Tunnel::to(listener.local_addr().unwrap()).await;
    let server = tokio::spawn(echo_after_the_end(listener));
    // All are open at once before any goes on.
    let open = Arc::new(Barrier::new(CROWD));
    let mut clients = JoinSet::new();
    for number in 0..CROWD {
        let (open, front) = (Arc::clone(&open), tunnel.front);
        clients.spawn(async move {
            let mut tcp = TcpStream::connect(front).await.unwrap();
            let bytes = pattern(number, EACH);
            tcp.write_all(&bytes[..1000]).await.unwrap();
            let mut first = [0; 1];
            tcp.read_exact(&mut first).await.unwrap();
            open.wait().await;
            if number == ABORTED {
                tcp.set_zero_linger().unwrap();
                return;
            }
            tcp.write_all(&bytes[1000..]).await.unwrap();
            tcp.shutdown().await.unwrap();
            let seen = read_on(&mut tcp).await;
            assert_eq!(seen, Seen::exactly(&bytes, Ending::Clean), "{number}");
        });
    }
    let all = async {
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        server.await.unwrap()
    };
    let aborted = timeout(DEADLINE, all).await.unwrap();
    assert_eq!(aborted, 1);
}

/// Greets each client with a byte, reads it to its end and says everything again. How many were
/// reset.
async fn echo_after_the_end(listener: TcpListener) -> usize {
    let mut connections = JoinSet::new();
    for _ in 0..CROWD {
        let (mut tcp, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            tcp.write_all(b"!").await.unwrap();
            let mut bytes = Vec::new();
            if tcp.read_to_end(&mut bytes).await.is_err() {
                return 1;
            }
            tcp.write_all(&bytes).await.unwrap();
            tcp.shutdown().await.unwrap();
            0
        });
    }
    connections.join_all().await.into_iter().sum()
}
