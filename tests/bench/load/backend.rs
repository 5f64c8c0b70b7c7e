//! The server behind a tunnel.

use std::{
    collections::HashMap,
    hash::Hasher,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    BUFFER,
    client::{DEADLINE, Work},
    pattern::Pattern,
};
use crate::{Failure, interrupt::Interrupt};

/// Threads that accept. More than the clients that connect at once, so that none waits for another.
const ACCEPTORS: usize = 16;

/// Serves connections until it is dropped.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: Mutex<Option<Listening>>,
}

/// A listener and those who accept on it.
#[derive(Debug)]
struct Listening {
    listener: TcpListener,
    acceptors: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    counters: Mutex<HashMap<u32, Arc<AtomicU64>>>,
    next_counter: AtomicU32,
    held: Mutex<Vec<TcpStream>>,
    served: Mutex<Vec<Served>>,
}

/// A connection with a thread of its own.
#[derive(Debug)]
struct Served {
    stream: TcpStream,
    thread: JoinHandle<()>,
}

impl Backend {
    /// # Errors
    /// When there is no port.
    pub(crate) fn start() -> Result<Self, Failure> {
        let what = || Failure::to("start a backend");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(what())?;
        let address = listener.local_addr().map_err(what())?;
        let shared = Arc::<Shared>::default();
        let mut acceptors = Vec::new();
        for _ in 0..ACCEPTORS {
            let listener = listener.try_clone().map_err(what())?;
            let shared = Arc::clone(&shared);
            acceptors.push(thread::spawn(move || shared.accept_on(&listener)));
        }
        Ok(Self {
            address,
            shared,
            listening: Mutex::new(Some(Listening {
                listener,
                acceptors,
            })),
        })
    }

    /// Serves nobody any more and gives the listener away; none if it was given before.
    pub(crate) fn retire(&self) -> Option<TcpListener> {
        let Listening {
            listener,
            acceptors,
        } = lock(&self.listening).take()?;
        self.shared.ended.store(true, Ordering::SeqCst);
        for _ in &acceptors {
            // Only to wake it; one that is busy sees the flag by itself.
            let _ = TcpStream::connect_timeout(&self.address, DEADLINE);
        }
        self.shared.close_all();
        for acceptor in acceptors {
            // A thread that panicked has said so.
            let _ = acceptor.join();
        }
        self.shared.close_all();
        Some(listener)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new counter of bytes received, and its number.
    pub(super) fn counter(&self) -> (u32, Arc<AtomicU64>) {
        let number = self.shared.next_counter.fetch_add(1, Ordering::Relaxed);
        let counter = Arc::<AtomicU64>::default();
        lock(&self.shared.counters).insert(number, Arc::clone(&counter));
        (number, counter)
    }

    /// Closes what is held, and waits until the other connections have ended, which their clients
    /// have closed. What does not end within two seconds is closed from this side.
    pub(crate) fn settle(&self, interrupt: &Interrupt) -> Result<(), Failure> {
        lock(&self.shared.held).clear();
        let quiet = || {
            let mut served = lock(&self.shared.served);
            served.retain(|served| !served.thread.is_finished());
            served.is_empty().then_some(())
        };
        match interrupt.until("the backend is quiet", Duration::from_secs(2), quiet) {
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            Err(_) => {
                self.shared.close_all();
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(self.retire());
    }
}

impl Shared {
    fn accept_on(self: &Arc<Self>, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            // A connection that fails is its client's to report.
            let _ = self.begin(stream);
        }
    }

    fn begin(self: &Arc<Self>, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut header = [0; Work::LENGTH];
        stream.read_exact(&mut header)?;
        match Work::decode(header).ok_or(io::ErrorKind::InvalidData)? {
            Work::Exchange => stream.write_all(&[1])?,
            Work::Hold => {
                stream.write_all(&[1])?;
                lock(&self.held).push(stream);
            }
            work => {
                // Ended by the client, or by `close_all`.
                stream.set_read_timeout(None)?;
                let mut ours = stream.try_clone()?;
                let shared = Arc::clone(self);
                let thread = thread::spawn(move || {
                    // Ends with an error whenever the client just closes.
                    let _ = shared.serve(&mut ours, work);
                    let _ = ours.shutdown(Shutdown::Both);
                });
                lock(&self.served).push(Served { stream, thread });
            }
        }
        Ok(())
    }

    fn serve(&self, stream: &mut TcpStream, work: Work) -> io::Result<()> {
        match work {
            Work::Sink(counter) => self.sink(stream, counter),
            Work::Flood => flood(stream),
            Work::Both(counter) => {
                let mut writer = stream.try_clone()?;
                thread::scope(|scope| {
                    scope.spawn(move || flood(&mut writer));
                    let result = self.sink(stream, counter);
                    stream.shutdown(Shutdown::Both)?;
                    result
                })
            }
            Work::Echo(size) => echo(stream, size),
            Work::Verify(length) => verify(stream, length),
            Work::Exchange | Work::Hold => Ok(()),
        }
    }

    fn sink(&self, stream: &mut TcpStream, counter: u32) -> io::Result<()> {
        let counter = lock(&self.counters).get(&counter).map(Arc::clone);
        let counter = counter.ok_or(io::ErrorKind::NotFound)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => counter.fetch_add(count as u64, Ordering::Relaxed),
            };
        }
    }

    fn close_all(&self) {
        lock(&self.held).clear();
        let served = std::mem::take(&mut *lock(&self.served));
        for served in &served {
            // It may have ended.
            let _ = served.stream.shutdown(Shutdown::Both);
        }
        for served in served {
            let _ = served.thread.join();
        }
    }
}

fn flood(stream: &mut TcpStream) -> io::Result<()> {
    let buffer = vec![0x5a; BUFFER];
    loop {
        stream.write_all(&buffer)?;
    }
}

fn echo(stream: &mut TcpStream, size: u32) -> io::Result<()> {
    let mut message = vec![0; usize::try_from(size).unwrap_or(BUFFER).min(BUFFER)];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}

fn verify(stream: &mut TcpStream, length: u32) -> io::Result<()> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&received);
    stream.write_all(&Pattern::bytes(u64::from(length), length))?;
    stream.write_all(&hasher.finish().to_be_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
