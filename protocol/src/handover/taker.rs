//! The host's end: takes connected sockets.

use std::{
    collections::HashMap,
    io,
    net::TcpStream as StdTcpStream,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::{
    SocketType, ipproto,
    sockopt::{socket_protocol, socket_type},
};
use thiserror::Error;
use tokio::net::TcpStream;

use super::{Proof, pair::PairEnd};
use crate::{link::Link, message::HandedOver};

/// Sockets that came before their answers were read, at most. An honest guest answers right after
/// it has sent one.
const WAITING: usize = 1024;

/// Where the pair's end appears, if it does.
#[derive(Debug)]
pub struct Expected(pub(super) Arc<Mutex<Option<OwnedFd>>>);

/// Whether it has appeared.
#[derive(Debug, Clone)]
pub struct Arrival(Arc<Mutex<Option<OwnedFd>>>);

impl Arrival {
    /// Whether it has, so that one kernel serves both ends and nobody between them reads along.
    #[must_use]
    pub fn happened(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl Expected {
    /// Tells whether it comes, which is known with the guest's first bytes.
    #[must_use]
    pub fn arrival(&self) -> Arrival {
        Arrival(Arc::clone(&self.0))
    }

    /// What came with the guest's first bytes, bound to `link`. None where nothing came or the
    /// link hands nothing over.
    #[must_use]
    pub fn bind(self, link: &Link) -> Option<Taker> {
        let end = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let pair = PairEnd::from(end?);
        let proofs = link.handover_proofs()?;
        pair.send(&proofs.host, None).ok()?;
        Some(Taker {
            pair,
            guest_proof: proofs.guest,
            inner: Mutex::default(),
            given_up: AtomicBool::new(false),
        })
    }
}

/// Why what was handed over cannot be used.
#[derive(Debug, Error)]
pub enum HandoverError {
    /// Nothing came under that number.
    #[error("the guest handed nothing over under the number {0}")]
    Missing(u64),
    /// The pair's other end is not the guest's.
    #[error("what hands connections over is not the guest")]
    NotTheGuest,
    /// What came is no TCP connection.
    #[error("the guest handed something over that is no TCP connection")]
    NotTcp,
    /// The system says so.
    #[error("cannot take the connection")]
    System(#[from] io::Error),
}

/// Takes sockets from the guest of one link.
#[derive(Debug)]
pub struct Taker {
    pair: PairEnd,
    guest_proof: Proof,
    inner: Mutex<Inner>,
    given_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    proved: bool,
    waiting: HashMap<u64, OwnedFd>,
}

impl Taker {
    /// Takes the socket that `answer` is about. It was sent before the answer, so it is there.
    ///
    /// The guest may hold it too and make calls on it block: [`join`](crate::relay::join) it where
    /// that stops nothing but what belongs to this guest.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn take(&self, answer: &HandedOver) -> Result<TcpStream, HandoverError> {
        let socket = self.socket(answer.number)?;
        check_tcp(&socket)?;
        let socket = StdTcpStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(TcpStream::from_std(socket)?)
    }

    /// Whether the guest has not said yet that it hands nothing over.
    pub(super) fn is_served(&self) -> bool {
        !self.given_up.load(Ordering::Relaxed)
    }

    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn socket(&self, number: u64) -> Result<OwnedFd, HandoverError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = inner.waiting.remove(&number) {
            return Ok(socket);
        }
        loop {
            let datagram = match self.pair.receive() {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(HandoverError::Missing(number));
                }
                Err(error) => return Err(error.into()),
            };
            if !inner.proved {
                // A wrong guess costs the attacker this datagram and tells nothing of the next.
                if datagram.bytes() != self.guest_proof {
                    return Err(HandoverError::NotTheGuest);
                }
                inner.proved = true;
                continue;
            }
            let found = datagram.bytes().try_into().map(u64::from_be_bytes);
            match (found, datagram.socket) {
                (Ok(found), Some(socket)) if found == number => return Ok(socket),
                (Ok(found), Some(socket)) if inner.waiting.len() < WAITING => {
                    inner.waiting.insert(found, socket);
                }
                // One too many, or nothing that was asked for: closed here.
                _ => {}
            }
        }
    }
}

/// The protocol alone does not tell: raw sockets and netlink have a sixth one too.
fn check_tcp(socket: &OwnedFd) -> Result<(), HandoverError> {
    match (socket_type(socket), socket_protocol(socket)) {
        (Ok(SocketType::STREAM), Ok(Some(ipproto::TCP))) => Ok(()),
        _ => Err(HandoverError::NotTcp),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::Read,
        net::{Ipv4Addr, TcpListener, TcpStream as StdTcpStream, UdpSocket},
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use rustix::net::{AddressFamily, netlink, socket};

    use super::*;

    const PROOF: Proof = [1; 32];

    fn taker() -> (Taker, PairEnd) {
        let (pair, guest) = PairEnd::pair().unwrap();
        let taker = Taker {
            pair,
            guest_proof: PROOF,
            inner: Mutex::default(),
            given_up: AtomicBool::new(false),
        };
        (taker, guest)
    }

    const fn answer(number: u64) -> HandedOver {
        HandedOver {
            number,
            address: String::new(),
        }
    }

    #[tokio::test]
    async fn sockets_are_found_by_their_number_in_any_order() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (taker, guest) = taker();
        guest.send(&PROOF, None).unwrap();
        let connections: Vec<_> = (0..8)
            .map(|_| StdTcpStream::connect(listener.local_addr().unwrap()).unwrap())
            .collect();
        for (number, connection) in (0_u64..).zip(&connections) {
            let number = number.to_be_bytes();
            guest.send(&number, Some(connection.as_fd())).unwrap();
        }
        for number in [5, 0, 7, 1, 2, 6, 4, 3] {
            let taken = taker.take(&answer(number)).unwrap();
            let expected = connections[number as usize].local_addr().unwrap();
            assert_eq!(taken.local_addr().unwrap(), expected);
        }
        let again = taker.take(&answer(5));
        assert!(matches!(again, Err(HandoverError::Missing(5))), "{again:?}");
    }

    #[tokio::test]
    async fn what_is_no_tcp_connection_is_closed_unused() {
        let (taker, guest) = taker();
        guest.send(&PROOF, None).unwrap();
        let (unix, mut other) = UnixStream::pair().unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let file = File::open("/proc/self/status").unwrap();
        let (raw, netlink) = (SocketType::RAW, Some(netlink::XFRM));
        // Where the kernel has no such netlink, the row beside it stands in.
        let netlink = socket(AddressFamily::NETLINK, raw, netlink)
            .unwrap_or_else(|_| udp.try_clone().unwrap().into());
        let all = [unix.as_fd(), udp.as_fd(), file.as_fd(), netlink.as_fd()];
        for (number, descriptor) in (0_u64..).zip(all) {
            let bytes = number.to_be_bytes();
            guest.send(&bytes, Some(descriptor)).unwrap();
            let refused = taker.take(&answer(number));
            assert!(matches!(refused, Err(HandoverError::NotTcp)), "{refused:?}");
        }
        drop(unix);
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "somebody holds it still");
    }

    #[tokio::test]
    async fn a_flood_is_bounded_and_closed() {
        let (taker, guest) = taker();
        guest.send(&PROOF, None).unwrap();
        let (unix, mut other) = UnixStream::pair().unwrap();
        for number in 0..2 * WAITING as u64 {
            let bytes = number.to_be_bytes();
            guest.send(&bytes, Some(unix.as_fd())).unwrap();
            // A number that never comes makes the host read what has come.
            assert!(taker.take(&answer(u64::MAX)).is_err());
        }
        assert_eq!(taker.inner.lock().unwrap().waiting.len(), WAITING);
        drop((unix, taker));
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "somebody holds it still");
    }

    #[tokio::test]
    async fn without_the_proof_nothing_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let connection = StdTcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for first in [&[0; 32][..], &PROOF[..31], b"", &0_u64.to_be_bytes()] {
            let (taker, stranger) = taker();
            stranger.send(first, Some(connection.as_fd())).unwrap();
            let bytes = 0_u64.to_be_bytes();
            stranger.send(&bytes, Some(connection.as_fd())).unwrap();
            let refused = taker.take(&answer(0));
            let not_the_guest = matches!(refused, Err(HandoverError::NotTheGuest));
            assert!(not_the_guest, "{refused:?}");
        }
    }
}
