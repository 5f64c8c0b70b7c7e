//! The two ends of a stream: each does its part of the plan, compares each byte as it comes, and
//! says how it ended.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::{
    bytes::{Bytes, Sequence, Way},
    plan::{Direction, Disturbance, Order, Plan},
};

/// Longest life of a stream: far beyond what any needs.
const DEADLINE: Duration = Duration::from_secs(300);

/// Bytes that others move while a reader stalls, and how long it waits for them at most.
const MEANWHILE: u64 = 32 << 20;
const STALL_DEADLINE: Duration = Duration::from_secs(20);

/// How an end saw a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Offset of the first byte that should have been another one.
    pub(crate) wrong_at: Option<u64>,
    pub(crate) end: EndOf,
    /// Whether its reader stalled, and the other end's writer was held up by that.
    pub(crate) stalled: bool,
}

/// How a stream ended for one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOf {
    /// All was sent, and the other end's end was read.
    Clean,
    /// With an error.
    Failed(io::ErrorKind),
    /// This end reset it, as planned.
    Reset,
    /// There was no connection.
    NotConnected(io::ErrorKind),
    /// Not at all, in all its time.
    Never,
}

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What an end reports: the stream's number, if it is known, and its account.
pub(crate) type Reported = (Role, Option<u64>, Account);

/// What all ends share.
pub(crate) struct Stage {
    pub(crate) seed: u64,
    pub(crate) bytes: Bytes,
    /// Bytes that came and were right.
    pub(crate) moved: watch::Sender<u64>,
    pub(crate) reports: mpsc::Sender<Reported>,
    /// Bytes sent by the streams' ends, for those who wait for them.
    sent: [AtomicU64; SLOTS],
}

/// Counters of bytes sent, by stream and direction: more than streams at once.
const SLOTS: usize = 4096;

impl Stage {
    pub(crate) fn new(seed: u64, reports: mpsc::Sender<Reported>) -> Arc<Self> {
        Arc::new(Self {
            seed,
            bytes: Bytes::new(seed),
            moved: watch::Sender::new(0),
            reports,
            sent: [const { AtomicU64::new(0) }; SLOTS],
        })
    }

    fn slot(&self, number: u64, way: Way) -> &AtomicU64 {
        let index = usize::try_from(number % (SLOTS as u64 / 2)).unwrap_or_default();
        &self.sent[2 * index + usize::from(way == Way::Down)]
    }

    fn report(&self, role: Role, number: Option<u64>, account: Account) {
        // The run may have been given up.
        let _ = self.reports.send((role, number, account));
    }

    /// Plays the client of a stream.
    pub(crate) async fn client(self: Arc<Self>, entry: SocketAddr, number: u64) {
        let mut end = End::new(&self, Role::Client, number);
        self.slot(number, Way::Up).store(0, Ordering::Relaxed);
        self.slot(number, Way::Down).store(0, Ordering::Relaxed);
        let playing = async {
            match TcpStream::connect(entry).await {
                Ok(tcp) => end.play(tcp).await,
                Err(error) => EndOf::NotConnected(error.kind()),
            }
        };
        let ended = timeout(DEADLINE, playing).await.unwrap_or(EndOf::Never);
        let account = end.account(ended);
        self.report(Role::Client, Some(number), account);
    }

    /// Plays the servers of all streams.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut servers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((tcp, _)) = accepted {
                    servers.spawn(Arc::clone(&self).server(tcp));
                },
                Some(_) = servers.join_next() => {}
            }
        }
    }

    async fn server(self: Arc<Self>, mut tcp: TcpStream) {
        let mut header = [0; Plan::HEADER];
        let read = timeout(DEADLINE, read_header(&mut tcp, &mut header)).await;
        let number = u64::from_be_bytes(header);
        let mut end = End::new(&self, Role::Server, number);
        match read {
            Ok((count, None)) => {
                end.received = count;
                let playing = end.play(tcp);
                let ended = timeout(DEADLINE, playing).await.unwrap_or(EndOf::Never);
                let account = end.account(ended);
                self.report(Role::Server, Some(number), account);
            }
            Ok((count, Some(ended))) => {
                end.received = count;
                let account = end.account(ended);
                self.report(Role::Server, None, account);
            }
            Err(_) => {
                let account = end.account(EndOf::Never);
                self.report(Role::Server, None, account);
            }
        }
    }
}

/// How much of the header came, and how the stream ended if that was not all.
async fn read_header(tcp: &mut TcpStream, header: &mut [u8; Plan::HEADER]) -> (u64, Option<EndOf>) {
    let mut count = 0;
    while count < header.len() {
        match tcp.read(&mut header[count..]).await {
            Ok(0) => return (count as u64, Some(EndOf::Clean)),
            Ok(read) => count += read,
            Err(error) => return (count as u64, Some(EndOf::Failed(error.kind()))),
        }
    }
    (count as u64, None)
}

struct End<'a> {
    stage: &'a Stage,
    role: Role,
    number: u64,
    plan: Plan,
    began: Instant,
    sent: u64,
    received: u64,
    wrong_at: Option<u64>,
    stalled: bool,
}

/// Why a direction did not go to its end.
enum Broken {
    Failed(io::ErrorKind),
    /// It was planned so.
    Reset,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.kind())
    }
}

impl<'a> End<'a> {
    fn new(stage: &'a Stage, role: Role, number: u64) -> Self {
        Self {
            stage,
            role,
            number,
            plan: Plan::of(stage.seed, number),
            began: Instant::now(),
            sent: 0,
            received: 0,
            wrong_at: None,
            stalled: false,
        }
    }

    fn account(self, end: EndOf) -> Account {
        Account {
            began: self.began,
            ended: Instant::now(),
            sent: self.sent,
            received: self.received,
            wrong_at: self.wrong_at,
            end,
            stalled: self.stalled,
        }
    }

    async fn play(&mut self, mut tcp: TcpStream) -> EndOf {
        // Small writes are to go out as such.
        let _ = tcp.set_nodelay(true);
        let (out, coming) = match self.role {
            Role::Client => (Way::Up, Way::Down),
            Role::Server => (Way::Down, Way::Up),
        };
        let sends_first = match (self.role, self.plan.order) {
            (_, Order::AtOnce) => None,
            (Role::Client, Order::UpFirst) | (Role::Server, Order::DownFirst) => Some(true),
            (Role::Client, Order::DownFirst) | (Role::Server, Order::UpFirst) => Some(false),
        };
        let (reader, writer) = tcp.split();
        let sending = Sending {
            stage: self.stage,
            number: self.number,
            way: out,
            direction: self.plan.direction(out),
            bytes: self.stage.bytes.of(self.number, out),
            reset_after: match (self.role, self.plan.disturbance) {
                (Role::Client, Disturbance::ClientResets(after))
                | (Role::Server, Disturbance::ServerResets(after)) => Some(after),
                _ => None,
            },
            sent: &mut self.sent,
        };
        let receiving = Receiving {
            stage: self.stage,
            number: self.number,
            way: coming,
            direction: self.plan.direction(coming),
            bytes: self.stage.bytes.of(self.number, coming),
            stall_after: match (self.role, self.plan.disturbance) {
                (Role::Client, Disturbance::ClientStalls(after))
                | (Role::Server, Disturbance::ServerStalls(after)) => Some(after),
                _ => None,
            },
            received: &mut self.received,
            wrong_at: &mut self.wrong_at,
            stalled: &mut self.stalled,
        };
        // The server must not wait for the header a second time, nor the client hold it back.
        let result = match sends_first {
            None => tokio::try_join!(sending.run(writer), receiving.run(reader)).map(drop),
            Some(true) => match sending.run(writer).await {
                Ok(()) => receiving.run(reader).await,
                Err(broken) => Err(broken),
            },
            Some(false) => {
                let header = match self.role {
                    Role::Client => Plan::HEADER as u64,
                    Role::Server => 0,
                };
                sending
                    .with_header_first(writer, header, receiving.run(reader))
                    .await
            }
        };
        match result {
            Ok(()) => EndOf::Clean,
            Err(Broken::Failed(kind)) => EndOf::Failed(kind),
            Err(Broken::Reset) => {
                // A socket that refuses it is closed, which the ledger notices.
                let _ = tcp.set_zero_linger();
                EndOf::Reset
            }
        }
    }
}

impl Plan {
    pub(crate) const fn direction(&self, way: Way) -> Direction {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }
}

struct Sending<'a> {
    stage: &'a Stage,
    number: u64,
    way: Way,
    direction: Direction,
    bytes: Sequence<'a>,
    reset_after: Option<u64>,
    sent: &'a mut u64,
}

impl Sending<'_> {
    async fn run(self, mut writer: WriteHalf<'_>) -> Result<(), Broken> {
        self.send(&mut writer).await
    }

    /// Sends the header, waits for the other direction's end, and sends the rest.
    async fn with_header_first(
        self,
        mut writer: WriteHalf<'_>,
        header: u64,
        receiving: impl Future<Output = Result<(), Broken>>,
    ) -> Result<(), Broken> {
        while *self.sent < header {
            let piece = self.bytes.at(*self.sent, Plan::HEADER);
            writer.write_all(piece).await?;
            *self.sent += piece.len() as u64;
        }
        receiving.await?;
        self.send(&mut writer).await
    }

    async fn send(self, writer: &mut WriteHalf<'_>) -> Result<(), Broken> {
        let slot = self.stage.slot(self.number, self.way);
        let end = self.reset_after.unwrap_or(self.direction.bytes);
        while *self.sent < end {
            let left = usize::try_from(end - *self.sent).unwrap_or(usize::MAX);
            let piece = self.bytes.at(*self.sent, self.direction.write.min(left));
            let count = writer.write(piece).await?;
            *self.sent += count as u64;
            slot.store(*self.sent, Ordering::Relaxed);
        }
        if self.reset_after.is_some() {
            return Err(Broken::Reset);
        }
        Ok(writer.shutdown().await?)
    }
}

struct Receiving<'a> {
    stage: &'a Stage,
    number: u64,
    way: Way,
    direction: Direction,
    bytes: Sequence<'a>,
    stall_after: Option<u64>,
    received: &'a mut u64,
    wrong_at: &'a mut Option<u64>,
    stalled: &'a mut bool,
}

impl Receiving<'_> {
    async fn run(mut self, mut reader: ReadHalf<'_>) -> Result<(), Broken> {
        let mut buffer = vec![0; self.direction.read];
        loop {
            if self
                .stall_after
                .is_some_and(|after| *self.received >= after)
            {
                self.stall_after = None;
                self.stall().await;
            }
            let count = reader.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            if self.wrong_at.is_none() && !self.bytes.are(*self.received, &buffer[..count]) {
                *self.wrong_at = Some(*self.received);
            }
            *self.received += count as u64;
            self.stage.moved.send_modify(|moved| *moved += count as u64);
        }
    }

    /// Reads nothing while others move bytes. It counts if the other end's writer stood still for
    /// the second half of that.
    async fn stall(&mut self) {
        let mut moved = self.stage.moved.subscribe();
        let from = *moved.borrow_and_update();
        let slot = self.stage.slot(self.number, self.way);
        let waiting = async {
            // The sender lives as long as the stage.
            let _ = moved.wait_for(|moved| *moved >= from + MEANWHILE / 2).await;
            let halfway = slot.load(Ordering::Relaxed);
            let _ = moved.wait_for(|moved| *moved >= from + MEANWHILE).await;
            slot.load(Ordering::Relaxed) == halfway && halfway < self.direction.bytes
        };
        *self.stalled = timeout(STALL_DEADLINE, waiting).await.unwrap_or(false);
    }
}
