//! A relay that passes bytes between two sockets, and loses, holds, delays or changes them where it
//! is told to. It runs on threads, so that a test's runtime has no task of it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// Bytes that pass at once.
const PIECE: usize = 64 * 1024;

/// Where a socket is.
#[derive(Debug, Clone)]
pub enum End {
    /// In the file system.
    Unix(PathBuf),
    /// On loopback.
    Tcp(SocketAddr),
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who connected to the relay: the host.
    There,
    /// To who connected to it.
    Back,
}

/// What the relay does to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It passes every byte.
    None,
    /// Both directions end once so many bytes have passed this way.
    Cut(Way, u64),
    /// What comes behind so many bytes this way is lost, and nothing ends.
    Hold(Way, u64),
    /// One bit of the byte at this offset is another one.
    Flip(Way, u64),
    /// So many bytes at once pass, with a pause behind each piece.
    Drip(usize, Duration),
}

/// A relay that listens. It and its connections end with this.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    /// Where it listens.
    near: End,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    far: End,
    /// Notified when the relay ends.
    ending: Condvar,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    is_ending: bool,
    accepted: u64,
    fired: u64,
    /// Bytes of the last connection each way.
    passed: [u64; 2],
    /// Those that stand, by their number.
    live: BTreeMap<u64, (Stream, Stream)>,
}

impl Relay {
    /// Listens on the path `near` and leads to `far`.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn unix(near: &Path, far: End) -> Self {
        let listener = UnixListener::bind(near).expect("a path that is free");
        let accept = move || Ok(Stream::Unix(listener.accept()?.0));
        Self::start(End::Unix(near.to_owned()), far, accept)
    }

    /// Listens on a port of loopback, which comes with it, and leads to `far`.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn tcp(far: End) -> (Self, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let near = listener.local_addr().expect("it is bound");
        let accept = move || Ok(Stream::Tcp(listener.accept()?.0));
        (Self::start(End::Tcp(near), far, accept), near)
    }

    fn start(
        near: End,
        far: End,
        accept: impl Fn() -> io::Result<Stream> + Send + 'static,
    ) -> Self {
        let state = Mutex::new(State {
            fault: Fault::None,
            is_ending: false,
            accepted: 0,
            fired: 0,
            passed: [0; 2],
            live: BTreeMap::new(),
        });
        let shared = Arc::new(Shared {
            far,
            ending: Condvar::new(),
            state,
        });
        let accepting = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            while let Ok(client) = accept() {
                if accepting.lock().is_ending {
                    break;
                }
                // Whoever cannot be served sees the end of it.
                let _ = accepting.serve(client);
            }
        });
        Self {
            shared,
            near,
            accepting: Some(accepting),
        }
    }

    /// What happens to connections that come from now on.
    pub fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        (state.fault, state.fired) = (fault, 0);
    }

    /// How often what was set has happened.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.shared.lock().fired
    }

    /// Connections that have come.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Bytes that have passed on the connection that came last, there and back.
    #[must_use]
    pub fn passed(&self) -> (u64, u64) {
        let [there, back] = self.shared.lock().passed;
        (there, back)
    }

    /// Connections that stand.
    #[must_use]
    pub fn live(&self) -> usize {
        self.shared.lock().live.len()
    }

    /// Ends all connections that stand.
    pub fn cut(&self) {
        for (near, far) in self.shared.lock().live.values() {
            near.end();
            far.end();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().is_ending = true;
        self.shared.ending.notify_all();
        self.cut();
        // One last client, so that it looks. Where its path is gone it waits for ever by itself.
        let told = Stream::connect(&self.near);
        if let (Ok(_), Some(accepting)) = (told, self.accepting.take()) {
            let _ = accepting.join();
        }
        if let End::Unix(path) = &self.near {
            let _ = fs::remove_file(path);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(self: &Arc<Self>, near: Stream) -> io::Result<()> {
        let far = Stream::connect(&self.far)?;
        let (number, fault) = {
            let mut state = self.lock();
            state.accepted += 1;
            state.passed = [0; 2];
            let number = state.accepted;
            let ends = (near.another()?, far.another()?);
            state.live.insert(number, ends);
            (number, state.fault)
        };
        let (to_near, from_far) = (near.another()?, far.another()?);
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || {
            let back = thread::spawn(move || {
                let _ = back.pump(number, fault, Way::Back, from_far, to_near);
            });
            let _ = there.pump(number, fault, Way::There, near, far);
            let _ = back.join();
            there.lock().live.remove(&number);
        });
        Ok(())
    }

    /// The delay that was asked for, unless the relay ends before.
    fn pause(&self, time: Duration) {
        let goes_on = |state: &mut State| !state.is_ending;
        let waited = self.ending.wait_timeout_while(self.lock(), time, goes_on);
        drop(waited);
    }

    /// Passes bytes one way until it ends, which ends both.
    fn pump(
        &self,
        number: u64,
        fault: Fault,
        way: Way,
        mut from: Stream,
        mut to: Stream,
    ) -> io::Result<()> {
        let result = self.pass(number, fault, way, &mut from, &mut to);
        from.end();
        to.end();
        result
    }

    fn pass(
        &self,
        number: u64,
        fault: Fault,
        way: Way,
        from: &mut Stream,
        to: &mut Stream,
    ) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut passed = 0;
        loop {
            let room = match fault {
                Fault::Cut(which, after) if which == way => {
                    if passed == after {
                        self.lock().fired += 1;
                        return Ok(());
                    }
                    usize::try_from(after - passed).map_or(PIECE, |left| left.min(PIECE))
                }
                Fault::Drip(piece, _) => piece,
                _ => PIECE,
            };
            let count = from.read(&mut buffer[..room])?;
            if count == 0 {
                return Ok(());
            }
            let piece = &mut buffer[..count];
            let range = passed..passed + count as u64;
            passed = range.end;
            let mut kept = count;
            match fault {
                Fault::Flip(which, at) if which == way && range.contains(&at) => {
                    let place = usize::try_from(at - range.start).unwrap_or_default();
                    piece[read_by_somebody(piece, place)] ^= 1 << (at % 8);
                    self.lock().fired += 1;
                }
                Fault::Hold(which, after) if which == way && range.end > after => {
                    let left = after.saturating_sub(range.start);
                    kept = usize::try_from(left).unwrap_or_default();
                    self.lock().fired += 1;
                }
                Fault::Drip(_, pause) => {
                    self.lock().fired += 1;
                    self.pause(pause);
                }
                _ => {}
            }
            to.write_all(&piece[..kept])?;
            let mut state = self.lock();
            if state.accepted == number {
                state.passed[usize::from(way == Way::Back)] = passed;
            }
        }
    }
}

/// A socket of either kind.
/// `place`, or the byte in front of it: the last one of the version in the header of a TLS record is
/// to be ignored, RFC 8446 §5.1, and a change of it is none.
fn read_by_somebody(piece: &[u8], place: usize) -> usize {
    const DATA_OF_VERSION: [u8; 2] = [23, 3];
    let is_ignored = place >= 2 && piece[place - 2..place] == DATA_OF_VERSION;
    if is_ignored { place - 1 } else { place }
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(end: &End) -> io::Result<Self> {
        match end {
            End::Unix(path) => UnixStream::connect(path).map(Self::Unix),
            End::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    fn another(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => {
                stream.set_nodelay(true)?;
                stream.try_clone().map(Self::Tcp)
            }
        }
    }

    /// Ends both directions; that they have ended is fine.
    fn end(&self) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// What comes back through a relay with `fault` from an echo, for `sent`.
    fn echoed(fault: Fault, sent: &[u8]) -> (Vec<u8>, u64) {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let far = echo.local_addr().expect("it is bound");
        let serving = thread::spawn(move || {
            let (mut client, _) = echo.accept().expect("somebody comes");
            let mut reader = client.try_clone().expect("a copy");
            let _ = io::copy(&mut reader, &mut client);
        });
        let (relay, near) = Relay::tcp(End::Tcp(far));
        relay.set(fault);
        let mut client = TcpStream::connect(near).expect("the relay listens");
        client.set_read_timeout(Some(LIMIT)).expect("a deadline");
        client.write_all(sent).expect("the relay reads");
        let mut back = vec![0; sent.len()];
        let mut count = 0;
        while count < back.len() {
            match client.read(&mut back[count..]) {
                Ok(more @ 1..) => count += more,
                _ => break,
            }
        }
        back.truncate(count);
        let fired = relay.fired();
        drop((client, relay));
        serving.join().expect("the echo ended");
        (back, fired)
    }

    #[test]
    fn what_it_was_told_happens_at_its_place_and_nothing_else() {
        assert_eq!(
            echoed(Fault::None, b"0123456789"),
            (b"0123456789".to_vec(), 0)
        );
        assert_eq!(
            echoed(Fault::Cut(Way::Back, 4), b"0123456789"),
            (b"0123".to_vec(), 1)
        );
        let (back, fired) = echoed(Fault::Cut(Way::There, 4), b"0123456789");
        assert!(b"0123".starts_with(&back) && fired == 1, "{back:?}");
        assert_eq!(
            echoed(Fault::Flip(Way::Back, 8), b"0123456789"),
            (b"0123456799".to_vec(), 1)
        );
        let drip = Fault::Drip(3, Duration::from_millis(1));
        let (back, fired) = echoed(drip, b"0123456789");
        assert!(back == b"0123456789" && fired >= 4, "{fired}");
    }
}
