//! What passes over every carrier: much both ways at once with each byte checked, one direction
//! ended before the other, a reset from either side.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what fails here fails the test, and says where"
)]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use lkc_protocol::{
    link::{Link, Stream},
    message::{Dial, DialNetwork},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::PATIENCE;

/// Bytes each way. More than every window and buffer on the way.
const BULK: usize = 6 * 1024 * 1024;

/// A server in the place of one in the guest.
#[derive(Debug)]
pub struct Server(TcpListener);

impl Server {
    /// On loopback.
    pub async fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// A stream to it over the link, and its end of it.
    pub async fn dial(&self, link: &Link) -> (Stream, TcpStream) {
        self.try_dial(link).await.unwrap()
    }

    /// The same where the link may be gone.
    ///
    /// # Errors
    /// What the link says.
    pub async fn try_dial(&self, link: &Link) -> io::Result<(Stream, TcpStream)> {
        let dial = Dial {
            network: DialNetwork::Tcp,
            host: self.address().ip().to_string(),
            port: self.address().port(),
        };
        let dialling = async {
            let (_, stream) = link.request(&dial).await.map_err(io::Error::other)?;
            let (socket, _) = self.0.accept().await?;
            Ok((stream, socket))
        };
        timeout(PATIENCE, dialling).await.unwrap()
    }
}

/// All of it, over one link.
pub async fn pass(link: &Link) {
    let server = Server::start().await;
    timeout(PATIENCE, bulk_and_half_close(link, &server))
        .await
        .unwrap();
    timeout(PATIENCE, resets(link, &server)).await.unwrap();
}

/// One short exchange.
pub async fn ping(link: &Link) {
    let server = Server::start().await;
    let (mut stream, mut socket) = server.dial(link).await;
    let exchange = async {
        stream.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        socket.read_exact(&mut word).await.unwrap();
        socket.write_all(&word).await.unwrap();
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"ping");
    };
    timeout(PATIENCE, exchange).await.unwrap();
}

async fn bulk_and_half_close(link: &Link, server: &Server) {
    let (stream, socket) = server.dial(link).await;
    let (there, back) = (content(1, BULK), content(2, BULK));
    let client = async {
        let (mut reader, mut writer) = split(stream);
        let writing = async {
            writer.write_all(&there).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let reading = async {
            let mut bulk = vec![0; BULK];
            reader.read_exact(&mut bulk).await.unwrap();
            assert!(bulk == back, "bytes from the guest differ");
            let mut rest = String::new();
            reader.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "after your end");
        };
        tokio::join!(writing, reading);
    };
    let served = async {
        let (mut reader, mut writer) = socket.into_split();
        let reading = async {
            let mut bulk = Vec::new();
            reader.read_to_end(&mut bulk).await.unwrap();
            assert!(bulk == there, "bytes to the guest differ");
        };
        let writing = async {
            writer.write_all(&back).await.unwrap();
            writer
        };
        // Its last words come when the client has ended its direction and not before.
        let ((), mut writer) = tokio::join!(reading, writing);
        writer.write_all(b"after your end").await.unwrap();
        writer.shutdown().await.unwrap();
    };
    tokio::join!(client, served);
}

async fn resets(link: &Link, server: &Server) {
    let (stream, mut socket) = server.dial(link).await;
    drop(stream);
    let error = socket.read_u8().await.unwrap_err();
    assert_eq!(
        error.kind(),
        io::ErrorKind::ConnectionReset,
        "from the host"
    );
    let (mut stream, socket) = server.dial(link).await;
    socket.set_zero_linger().unwrap();
    drop(socket);
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(
        error.kind(),
        io::ErrorKind::ConnectionReset,
        "from the guest"
    );
}

/// Bytes that look alike nowhere, by xorshift.
#[must_use]
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
