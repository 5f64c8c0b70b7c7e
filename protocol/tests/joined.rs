//! Two sockets joined directly, as those are that were handed over. In a process of its own, which
//! has no other pipes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use lkc_protocol::relay::{Counters, JoinEnd, join};

const DEADLINE: Duration = Duration::from_secs(60);

/// Much more than pipes and sockets hold together.
const BYTES: usize = 48 * 1024 * 1024;

fn pattern(seed: usize) -> Vec<u8> {
    let bytes = (0..BYTES).map(|at| (at.wrapping_mul(31).wrapping_add(seed) % 251) as u8);
    bytes.collect()
}

async fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let connect = TcpStream::connect(listener.local_addr().unwrap());
    let (near, accepted) = tokio::join!(connect, listener.accept());
    (near.unwrap(), accepted.unwrap().0)
}

async fn send(half: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) {
    half.write_all(bytes).await.unwrap();
    half.shutdown().await.unwrap();
}

/// All that comes, and how many pipes there were in the middle of it.
async fn receive(half: &mut (impl AsyncReadExt + Unpin)) -> (Vec<u8>, usize) {
    let mut bytes = Vec::with_capacity(BYTES);
    half.take(BYTES as u64 / 2)
        .read_to_end(&mut bytes)
        .await
        .unwrap();
    let open = pipes();
    half.read_to_end(&mut bytes).await.unwrap();
    (bytes, open)
}

/// Much both ways at once arrives whole, and where there is splice(2) it is what brings it.
#[tokio::test]
async fn much_arrives_whole_both_ways() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let before = pipes();
    let (mut client, near) = connection(&listener).await;
    let (far, mut server) = connection(&listener).await;
    let (up, down) = (pattern(1), pattern(2));
    let counters = Counters::default();
    let ((mut client_read, mut client_write), (mut server_read, mut server_write)) =
        (client.split(), server.split());
    let all = async {
        tokio::join!(
            join(near, far, &counters),
            send(&mut client_write, &up),
            send(&mut server_write, &down),
            receive(&mut server_read),
            receive(&mut client_read),
        )
    };
    let (end, (), (), (sent, meanwhile), (received, _)) = timeout(DEADLINE, all).await.unwrap();
    assert!(matches!(end, JoinEnd::Finished), "{end:?}");
    assert!(sent == up && received == down, "other bytes than were sent");
    if cfg!(target_os = "linux") {
        assert!(meanwhile > before, "it was copied");
    }
    assert_eq!(pipes(), before, "nobody is left who could use one");
}

/// Pipes that this process has open.
fn pipes() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .count()
}
