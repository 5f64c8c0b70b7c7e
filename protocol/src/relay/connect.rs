//! Connecting to a target that may have sent and reset before anybody looks.

use std::{
    io,
    net::{SocketAddr, TcpStream as StdTcpStream},
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    net::{RecvFlags, connect as begin, recv},
};
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream},
};

/// A connection to `address`. What the target has sent is there to be read also when it has reset
/// the connection already.
///
/// # Errors
/// Why there is none. `ConnectionReset` says that it was made, and reset before a byte: as good an
/// answer of the target as any, after which no other address is to be tried.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    looked_at(under_way(address)?).await
}

async fn looked_at(tcp: TcpStream) -> io::Result<TcpStream> {
    let ready = tcp.ready(Interest::WRITABLE | Interest::ERROR).await?;
    if !ready.is_error() {
        return Ok(tcp);
    }
    // To ask for the error is to take it, and the one who reads would find an end instead. A look
    // at what is there to be read takes it only where nothing is.
    match recv(&tcp, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok(_) | Err(Errno::AGAIN) => Ok(tcp),
        Err(error) => Err(error.into()),
    }
}

/// A connection that is being made. The runtime's own `connect` asks for the error.
fn under_way(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    match begin(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // The only way out of the runtime's socket that is safe.
    let descriptor = fcntl_dupfd_cloexec(&socket, 0)?;
    TcpStream::from_std(StdTcpStream::from(descriptor))
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// What a program reads from a connection that a target resets before it is looked at.
    async fn read_after(
        leave: impl AsyncFnOnce(&mut TcpStream),
    ) -> (Vec<u8>, Option<io::ErrorKind>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = under_way(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        leave(&mut server).await;
        server.set_zero_linger().unwrap();
        drop(server);
        tcp.ready(Interest::ERROR).await.unwrap();
        let mut bytes = Vec::new();
        let end = match looked_at(tcp).await {
            Ok(mut tcp) => tcp.read_to_end(&mut bytes).await.err(),
            Err(error) => Some(error),
        };
        (bytes, end.map(|error| error.kind()))
    }

    #[tokio::test]
    async fn what_came_before_the_reset_is_not_lost() {
        let reset = Some(io::ErrorKind::ConnectionReset);
        let all = async {
            let nothing = read_after(async |_| {}).await;
            assert_eq!(nothing, (Vec::new(), reset));
            let data = read_after(async |server| server.write_all(b"data").await.unwrap()).await;
            assert_eq!(data, (b"data".to_vec(), reset));
            let ended = read_after(async |server| {
                server.write_all(b"data").await.unwrap();
                server.shutdown().await.unwrap();
            });
            assert_eq!(ended.await, (b"data".to_vec(), None));
        };
        timeout(DEADLINE, all).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_is_made_works_and_one_that_is_refused_says_so() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let both = async {
            let (client, server) = tokio::join!(connect(address), listener.accept());
            let (mut client, (mut server, _)) = (client.unwrap(), server.unwrap());
            server.write_all(b"hello").await.unwrap();
            let mut read = [0; 5];
            client.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"hello");
            drop(listener);
            let refused = connect(address).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        };
        timeout(DEADLINE, both).await.unwrap();
    }
}
