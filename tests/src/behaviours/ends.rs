//! One end of a behaviour: does the steps of its script and writes down what it sees.

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::script::Step;

/// Bytes written at once where a script does not say.
const BLOCK: usize = 64 * 1024;

/// Time without room for another byte after which everything in between is full.
const NO_ROOM: Duration = Duration::from_millis(200);

/// Something that an end saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Its connect was refused.
    Refused,
    /// Its connect failed otherwise.
    NotConnected(io::ErrorKind),
    /// It read so many bytes with this hash, and then what.
    Read(usize, u64, &'static str),
    /// A step failed.
    Failed(&'static str, &'static str),
    /// The failure that the kernel had for it.
    Failure(&'static str),
    /// A step had not ended when its time was over; the rest of the script was left out.
    Hangs(&'static str),
}

impl Seen {
    /// The hash of no bytes.
    pub(super) const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

    pub(super) const fn read(count: usize, hash: u64, then: &'static str) -> Self {
        Self::Read(count, hash, then)
    }

    pub(super) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            // It was made, and reset before anybody looked.
            io::ErrorKind::ConnectionReset => Self::read(0, Self::NOTHING, "reset"),
            kind => Self::NotConnected(kind),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => formatter.write_str("connect refused"),
            Self::NotConnected(kind) => write!(formatter, "connect failed: {kind}"),
            Self::Read(0, _, then) => write!(formatter, "read nothing, then {then}"),
            Self::Read(count, hash, then) => {
                // As much of the hash as a person compares.
                write!(formatter, "read {count} ({:04x}), then {then}", hash >> 48)
            }
            Self::Failed(what, how) => write!(formatter, "{what} failed: {how}"),
            Self::Failure(how) => write!(formatter, "pending failure: {how}"),
            Self::Hangs(what) => write!(formatter, "{what} hangs"),
        }
    }
}

/// How an end hears from the other one beside the connection.
#[derive(Debug)]
pub(super) struct Turns {
    ours: Arc<Semaphore>,
    theirs: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn pair() -> (Self, Self) {
        let (one, other) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let first = Self {
            ours: Arc::clone(&one),
            theirs: Arc::clone(&other),
        };
        let second = Self {
            ours: other,
            theirs: one,
        };
        (first, second)
    }

    fn tell(&self) {
        self.theirs.add_permits(1);
    }

    async fn wait(&self) {
        // Never closed.
        if let Ok(permit) = self.ours.acquire().await {
            permit.forget();
        }
    }
}

/// An end with its connection, as soon and as long as it has one.
pub(super) struct End<'a> {
    connection: Connection<'a>,
    turns: Turns,
    patience: Duration,
    seen: Vec<Seen>,
    pattern: Pattern,
}

enum Connection<'a> {
    /// Accepted with the first step that needs it.
    Coming(&'a TcpListener),
    Here(TcpStream),
    Gone,
}

/// What ends a script early.
struct Stop;

impl<'a> End<'a> {
    pub(super) fn connected(tcp: TcpStream, turns: Turns, patience: Duration) -> Self {
        Self::new(Connection::of(tcp), turns, patience, Pattern::CLIENTS)
    }

    pub(super) fn accepting(listener: &'a TcpListener, turns: Turns, patience: Duration) -> Self {
        Self::new(
            Connection::Coming(listener),
            turns,
            patience,
            Pattern::SERVERS,
        )
    }

    /// The client that got no connection.
    pub(super) fn failed(seen: Seen) -> Self {
        let (turns, _) = Turns::pair();
        let mut end = Self::new(Connection::Gone, turns, Duration::ZERO, Pattern::CLIENTS);
        end.seen.push(seen);
        end
    }

    const fn new(
        connection: Connection<'a>,
        turns: Turns,
        patience: Duration,
        pattern: Pattern,
    ) -> Self {
        Self {
            connection,
            turns,
            patience,
            seen: Vec::new(),
            pattern,
        }
    }

    pub(super) fn into_seen(self) -> Vec<Seen> {
        self.seen
    }

    pub(super) async fn play(&mut self, steps: &[Step]) {
        for &step in steps {
            match timeout(self.patience, self.step(step)).await {
                Ok(Ok(())) => {}
                Ok(Err(Stop)) => return,
                Err(_) => {
                    self.seen.push(Seen::Hangs(name(step)));
                    return;
                }
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), Stop> {
        match step {
            Step::Tell => {
                self.turns.tell();
                return Ok(());
            }
            Step::Wait => {
                self.turns.wait().await;
                return Ok(());
            }
            _ => self.accept().await?,
        }
        let Connection::Here(tcp) = &mut self.connection else {
            return Err(Stop);
        };
        let pattern = &mut self.pattern;
        match step {
            Step::Send(count) => note(&mut self.seen, step, send(tcp, pattern, count, BLOCK).await),
            Step::SendSingly(count) => {
                note(&mut self.seen, step, send(tcp, pattern, count, 1).await);
            }
            Step::SendTelling(count) => {
                let sent = send_telling(tcp, pattern, count, &self.turns).await;
                note(&mut self.seen, step, sent);
            }
            Step::Fill => note(&mut self.seen, step, fill(tcp, pattern).await),
            Step::SendUntilFailure => {
                let sent = send_telling(tcp, pattern, usize::MAX, &self.turns).await;
                note(&mut self.seen, step, sent);
            }
            Step::Exchange(count) => {
                let (mut reader, mut writer) = tcp.split();
                let sending = async {
                    writer.write_all(&pattern.take(count)).await?;
                    writer.shutdown().await
                };
                let (sent, read) = tokio::join!(sending, read(&mut reader, usize::MAX));
                note(&mut self.seen, step, sent);
                self.seen.push(read);
            }
            Step::Finish => note(&mut self.seen, step, tcp.shutdown().await),
            Step::Close => self.connection = Connection::Gone,
            Step::Reset => {
                note(&mut self.seen, step, tcp.set_zero_linger());
                self.connection = Connection::Gone;
            }
            Step::Read(count) => self.seen.push(read(tcp, count).await),
            Step::ReadToEnd => self.seen.push(read(tcp, usize::MAX).await),
            Step::AwaitBytes => {
                let peeked = tcp.peek(&mut [0]).await;
                match peeked {
                    Ok(0) => self.seen.push(Seen::Failed(name(step), "end")),
                    Ok(_) => {}
                    Err(error) => self.seen.push(Seen::Failed(name(step), kind(&error))),
                }
            }
            Step::AwaitFailure => {
                let failed = tcp.ready(Interest::ERROR).await;
                note(&mut self.seen, step, failed.map(drop));
            }
            Step::TakeFailure => {
                let pending = tcp.take_error();
                let pending = pending.ok().flatten();
                let text = pending.as_ref().map_or("none", kind);
                self.seen.push(Seen::Failure(text));
            }
            Step::Tell | Step::Wait => {}
        }
        Ok(())
    }

    async fn accept(&mut self) -> Result<(), Stop> {
        let Connection::Coming(listener) = self.connection else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((tcp, _)) => {
                self.connection = Connection::of(tcp);
                Ok(())
            }
            Err(error) => {
                self.seen.push(Seen::Failed("accept", kind(&error)));
                Err(Stop)
            }
        }
    }
}

impl Connection<'_> {
    fn of(tcp: TcpStream) -> Self {
        // Each write goes out as one.
        let _ = tcp.set_nodelay(true);
        Self::Here(tcp)
    }
}

/// Success is what the script wants and is not worth a word.
fn note(seen: &mut Vec<Seen>, step: Step, result: io::Result<()>) {
    if let Err(error) = result {
        seen.push(Seen::Failed(name(step), kind(&error)));
    }
}

async fn send(
    tcp: &mut TcpStream,
    pattern: &mut Pattern,
    count: usize,
    block: usize,
) -> io::Result<()> {
    let bytes = pattern.take(count);
    for block in bytes.chunks(block) {
        tcp.write_all(block).await?;
    }
    Ok(())
}

async fn send_telling(
    tcp: &TcpStream,
    pattern: &mut Pattern,
    count: usize,
    turns: &Turns,
) -> io::Result<()> {
    let (mut told, mut left) = (false, count);
    let mut pending = Vec::new();
    while left > 0 || !pending.is_empty() {
        if pending.is_empty() {
            pending = pattern.take(BLOCK.min(left));
            left -= pending.len();
        }
        tcp.writable().await?;
        match tcp.try_write(&pending) {
            Ok(written) => drop(pending.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !told {
                    turns.tell();
                    told = true;
                }
            }
            Err(error) => return Err(error),
        }
    }
    if !told {
        turns.tell();
    }
    Ok(())
}

/// Writes until there was no room for as long as whoever copies bytes needs to make some.
async fn fill(tcp: &TcpStream, pattern: &mut Pattern) -> io::Result<()> {
    let block = pattern.take(BLOCK);
    while let Ok(writable) = timeout(NO_ROOM, tcp.writable()).await {
        writable?;
        match tcp.try_write(&block) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Reads until `most` bytes are there or no more come.
async fn read(tcp: &mut (impl AsyncReadExt + Unpin), most: usize) -> Seen {
    let (mut buffer, mut all) = (vec![0; BLOCK], Vec::new());
    let then = loop {
        let room = buffer.len().min(most - all.len());
        if room == 0 {
            break "more";
        }
        match tcp.read(&mut buffer[..room]).await {
            Ok(0) => break "end",
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) => break kind(&error),
        }
    };
    Seen::Read(all.len(), hash(&all), then)
}

/// FNV-1a, of words as far as there are whole ones.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|&byte| u64::from(byte));
    words.chain(rest).fold(Seen::NOTHING, |hash, next| {
        (hash ^ next).wrapping_mul(0x100_0000_01b3).rotate_left(23)
    })
}

/// Bytes of which no two blocks are alike; the state of a generator.
struct Pattern(u64);

impl Pattern {
    const CLIENTS: Self = Self(0x9e37_79b9_7f4a_7c15);
    const SERVERS: Self = Self(0xc2b2_ae3d_27d4_eb4f);

    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            bytes.extend_from_slice(&(self.0 ^ (self.0 >> 32)).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

fn kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionReset => "reset",
        io::ErrorKind::BrokenPipe => "broken pipe",
        io::ErrorKind::NotConnected => "not connected",
        io::ErrorKind::TimedOut => "timed out",
        _ => "another error",
    }
}

const fn name(step: Step) -> &'static str {
    match step {
        Step::Send(_)
        | Step::SendSingly(_)
        | Step::SendTelling(_)
        | Step::SendUntilFailure
        | Step::Fill => "write",
        Step::Exchange(_) => "exchange",
        Step::Finish => "shutdown",
        Step::Close => "close",
        Step::Reset => "reset",
        Step::Read(_) | Step::ReadToEnd => "read",
        Step::AwaitBytes => "waiting for bytes",
        Step::AwaitFailure => "waiting for the failure",
        Step::TakeFailure => "asking for the failure",
        Step::Tell => "telling",
        Step::Wait => "waiting for the other end",
    }
}
