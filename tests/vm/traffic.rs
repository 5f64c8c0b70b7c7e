//! Connections that go into the guest by a forward and come back to this host by a reverse forward,
//! so that the carrier has every byte twice and both ends are ours.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use lkc_tests::{
    behaviours::{self, Difference, play},
    eventually,
};

use crate::lab::Lab;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes in each direction of a large transfer: hundreds of times every window and buffer.
const LARGE: usize = 16 * 1024 * 1024;

/// Connections at once, and bytes in each direction of each.
const MANY: usize = 200;
const SMALL: usize = 32 * 1024;

/// Where connections come out again. The guest listens for them: a new link has to ask it to first.
pub(crate) fn mirror(lab: &Lab) -> TcpListener {
    eventually("the guest listens for the host", PATIENCE, || {
        (lab.status()["reverse"][0]["state"] == "listening").then_some(())
    });
    TcpListener::bind(lab.mirror_target()).unwrap()
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One connection, both directions at once, each byte compared.
pub(crate) fn large_transfer(lab: &Lab) {
    transfer(lab, LARGE);
}

/// The same of so many bytes in each direction.
pub(crate) fn transfer(lab: &Lab, length: usize) {
    let listener = mirror(lab);
    let client = connect(lab.mirror_port());
    let (server, _) = listener.accept().unwrap();
    both_ways(&client, &server, 0, length);
}

/// Many connections at once.
pub(crate) fn many_connections(lab: &Lab) {
    let (listener, port) = (mirror(lab), lab.mirror_port());
    thread::scope(|scope| {
        // The connections come in any order: each says in its first byte pair which it is.
        let server = scope.spawn(move || {
            thread::scope(|scope| {
                for _ in 0..MANY {
                    let (stream, _) = listener.accept().unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    scope.spawn(move || {
                        let mut number = [0; 2];
                        (&stream).read_exact(&mut number).unwrap();
                        let number = u64::from(u16::from_be_bytes(number));
                        exchange(&stream, 2 * number, 2 * number + 1, SMALL);
                    });
                }
            });
        });
        for number in 0..MANY {
            scope.spawn(move || {
                let stream = connect(port);
                let name = u16::try_from(number).unwrap();
                (&stream).write_all(&name.to_be_bytes()).unwrap();
                let number = u64::from(name);
                exchange(&stream, 2 * number + 1, 2 * number, SMALL);
            });
        }
        server.join().unwrap();
    });
}

/// What both ends see is what they see of a direct connection: half-close among it.
pub(crate) fn behaves_like_a_direct_connection(lab: &Lab) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let differences = runtime.block_on(async {
        let direct = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = tokio::net::TcpListener::bind(lab.mirror_target())
            .await
            .unwrap();
        let entry = ([127, 0, 0, 1], lab.mirror_port()).into();
        let mut differences = Vec::new();
        // A refused target is seen where it is refused, which is beyond the guest here.
        for behaviour in behaviours::all()
            .into_iter()
            .filter(|behaviour| !behaviour.is_refused())
        {
            let patience = PATIENCE / 4;
            let expected = play(&behaviour, direct.local_addr().unwrap(), &direct, patience).await;
            let seen = play(&behaviour, entry, &through, patience).await;
            if seen.differs_from(&expected) == Difference::Told {
                differences.push(format!(
                    "{}\n direct  {expected}\n tunnel  {seen}",
                    behaviour.name()
                ));
            }
        }
        differences
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A transfer into the guest and back in the middle of which `end` happens to this host, so that
/// nobody is left to say what its ends see.
pub(crate) fn abandoned_transfer(lab: &Lab, end: impl FnOnce()) {
    let listener = mirror(lab);
    let client = connect(lab.mirror_port());
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let piece = vec![0; 64 * 1024];
            while (&client).write_all(&piece).is_ok() {}
        });
        let mut some = vec![0; 256 * 1024];
        (&server).read_exact(&mut some).unwrap();
        end();
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// A transfer into the guest and back that is cut short by `cut`, once half a window is through. The
/// receiver has an exact prefix and an error, never the end of all.
pub(crate) fn cut_transfer(lab: &Lab, cut: impl FnOnce()) {
    let listener = mirror(lab);
    let client = connect(lab.mirror_port());
    let (server, _) = listener.accept().unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut content = Content::new(7);
            let mut piece = vec![0; 64 * 1024];
            loop {
                content.fill(&mut piece);
                if let Err(error) = (&client).write_all(&piece) {
                    return error;
                }
            }
        });
        let mut content = Content::new(7);
        let mut received = read_some(&server, &mut content, 1024 * 1024).unwrap();
        cut();
        let end = loop {
            match read_some(&server, &mut content, 64 * 1024) {
                Ok(0) => panic!("a clean end after {received} bytes of an unfinished transfer"),
                Ok(more) => received += more,
                Err(error) => break error,
            }
        };
        assert!(is_broken(&end), "the receiver saw: {end}");
        let end = sender.join().unwrap();
        assert!(is_broken(&end), "the sender saw: {end}");
    });
}

fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Reads at least one byte and until `wanted` are there, and compares; 0 is the end.
fn read_some(mut stream: &TcpStream, content: &mut Content, wanted: usize) -> io::Result<usize> {
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    while total < wanted {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let mut expected = vec![0; read];
        content.fill(&mut expected);
        assert!(buffer[..read] == expected, "wrong bytes after {total}");
        total += read;
    }
    Ok(total)
}

fn both_ways(client: &TcpStream, server: &TcpStream, seed: u64, length: usize) {
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| exchange(server, seed, seed + 1, length));
        exchange(client, seed + 1, seed, length);
    });
}

/// Sends `length` bytes and their end while as many and their end are received.
fn exchange(stream: &TcpStream, sends: u64, receives: u64, length: usize) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut content = Content::new(sends);
            let mut left = length;
            let mut piece = vec![0; 64 * 1024];
            while left > 0 {
                let next = piece.len().min(left);
                content.fill(&mut piece[..next]);
                let mut stream = stream;
                stream.write_all(&piece[..next]).unwrap();
                left -= next;
            }
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut content = Content::new(receives);
        let received = read_some(stream, &mut content, usize::MAX).unwrap();
        assert_eq!(received, length);
    });
}

/// Bytes that follow from a seed, none like those of another place.
struct Content(u64);

impl Content {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            *byte = self.0.to_be_bytes()[0];
        }
    }
}
