//! Many short connections: a request of some hundred bytes, its answer, an end in each direction.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Failure,
    arrangement::Arrangement,
    options::LoadOptions,
    report::{self, Progress},
    usage::Usage,
};

/// Resident memory that a process may have more of afterwards, in KiB.
const GROWTH_KIB: u64 = 1024;

/// Longest time that a connection may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Failures that are shown; the others are counted.
const SHOWN: usize = 10;

#[derive(Serialize)]
struct Outcome {
    seed: u64,
    way: &'static str,
    connections: u64,
    warm_up: u64,
    clients: u16,
    seconds: f64,
    failures: u64,
    /// Of lkc-host and lkc-guest: before anything, after the warm-up, and at the end.
    usage: [[Usage; 2]; 3],
    wrong: Vec<String>,
}

/// What all clients share.
#[derive(Default)]
struct Score {
    left: AtomicU64,
    number: AtomicU64,
    done: AtomicU64,
    failed: AtomicU64,
    why: Mutex<Vec<String>>,
}

/// Runs it and says what was wrong.
///
/// # Errors
/// When it could not be run.
pub(crate) fn run(runtime: &Runtime, options: &LoadOptions) -> Result<Vec<String>, Failure> {
    let seed = options.every.seed.unwrap_or_else(seed_of_now);
    let mut progress = Progress::new();
    progress.say(&format!("seed {seed}"));
    let (arrangement, listener) = Arrangement::make(runtime, &options.every, options.way)?;
    let server = runtime.spawn(serve(listener, seed));
    let score = Arc::<Score>::default();
    let before = arrangement.quiet()?;
    let warm_up = options.warm_up();
    let mut drive = |count, what: &str| {
        let clients = Clients {
            entry: arrangement.entry,
            count: options.clients,
            seed,
        };
        clients.drive(runtime, &score, count, &arrangement, &mut progress, what)
    };
    drive(warm_up, "warm-up")?;
    let warm = arrangement.settled(&before)?;
    let begin = Instant::now();
    drive(options.connections(), "load")?;
    let seconds = begin.elapsed().as_secs_f64();
    let after = arrangement.settled(&before)?;
    server.abort();

    let forward = arrangement.forward();
    let mut wrong = score.lines();
    let (done, failures) = (
        score.done.load(Ordering::Relaxed),
        score.failed.load(Ordering::Relaxed),
    );
    let wanted = warm_up + options.connections();
    if done != wanted || failures > 0 {
        wrong.push(format!("{failures} of {wanted} connections failed"));
    }
    if (
        forward.open,
        forward.parked,
        forward.refused,
        forward.failed,
    ) != (0, 0, 0, 0)
        || forward.total != wanted
    {
        wrong.push(format!("the forward has {forward:?}, of {wanted}"));
    }
    for (index, name) in ["lkc-host", "lkc-guest"].into_iter().enumerate() {
        let [before, warm, after] = [&before, &warm, &after].map(|usage| usage[index]);
        if !after.holds_as(&before) {
            wrong.push(format!("{name} holds {after:?}, before {before:?}"));
        }
        if after.resident_kib > warm.resident_kib + GROWTH_KIB {
            let growth = after.resident_kib - warm.resident_kib;
            wrong.push(format!("{name} grew by {growth} KiB"));
        }
    }
    drop(progress);
    let memory = |usage: &[Usage; 2]| {
        let [host, guest] = usage;
        format!("{} and {} KiB", host.resident_kib, guest.resident_kib)
    };
    let held = |usage: &[Usage; 2]| {
        let [host, guest] = usage;
        format!(
            "{} and {} descriptors, {} and {} threads",
            host.descriptors, guest.descriptors, host.threads, guest.threads
        )
    };
    let rate = options.connections() as f64 / seconds;
    report::result(
        &[
            ("seed", seed.to_string()),
            ("way", options.way.name().to_owned()),
            (
                "connections",
                format!("{} by {} clients", options.connections(), options.clients),
            ),
            ("rate", format!("{rate:.0} a second, {seconds:.1} s")),
            ("failures", failures.to_string()),
            ("resident after warm-up", memory(&warm)),
            ("resident at the end", memory(&after)),
            ("held before", held(&before)),
            ("held at the end", held(&after)),
        ],
        &wrong,
    );
    if let Some(path) = &options.every.json {
        let outcome = Outcome {
            seed,
            way: options.way.name(),
            connections: options.connections(),
            warm_up,
            clients: options.clients,
            seconds,
            failures,
            usage: [before, warm, after],
            wrong: wrong.clone(),
        };
        report::write_json(&outcome, path)?;
    }
    Ok(wrong)
}

struct Clients {
    entry: SocketAddr,
    count: u16,
    seed: u64,
}

impl Clients {
    /// Makes so many connections, and waits for the last of them.
    fn drive(
        &self,
        runtime: &Runtime,
        score: &Arc<Score>,
        connections: u64,
        arrangement: &Arrangement,
        progress: &mut Progress,
        what: &str,
    ) -> Result<(), Failure> {
        score.left.store(connections, Ordering::Relaxed);
        let from = score.done.load(Ordering::Relaxed) + score.failed.load(Ordering::Relaxed);
        let begin = Instant::now();
        let (ended, end) = mpsc::channel::<()>();
        for _ in 0..self.count {
            let (score, ended) = (Arc::clone(score), ended.clone());
            let (entry, seed) = (self.entry, self.seed);
            // Ends with its last connection, which has a deadline.
            runtime.spawn(async move {
                score.connect_on(entry, seed).await;
                drop(ended);
            });
        }
        drop(ended);
        while end.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
            if let Err(interrupted) = arrangement.check() {
                score.left.store(0, Ordering::Relaxed);
                return Err(interrupted);
            }
            progress.show(|| {
                let failed = score.failed.load(Ordering::Relaxed);
                let done = score.done.load(Ordering::Relaxed) + failed - from;
                let rate = done as f64 / begin.elapsed().as_secs_f64();
                format!("{what}: {done} of {connections}, {rate:.0} a second, {failed} failed")
            });
        }
        Ok(())
    }
}

impl Score {
    async fn connect_on(&self, entry: SocketAddr, seed: u64) {
        let take = |left: u64| left.checked_sub(1);
        while self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let connection = connect(entry, seed, number);
            let result = timeout(DEADLINE, connection).await;
            match result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(()) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
                    if why.len() < SHOWN {
                        why.push(format!("connection {number}: {error}"));
                    }
                }
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone()
    }
}

/// One connection, from the client's side.
async fn connect(entry: SocketAddr, seed: u64, number: u64) -> io::Result<()> {
    let mut tcp = TcpStream::connect(entry).await?;
    tcp.set_nodelay(true)?;
    let request = Message::request(seed, number);
    tcp.write_all(&number.to_be_bytes()).await?;
    tcp.write_all(&request.0).await?;
    tcp.shutdown().await?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await?;
    if answer != Message::answer(seed, number).0 {
        let text = format!("the answer is another one, of {} bytes", answer.len());
        return Err(io::Error::other(text));
    }
    Ok(())
}

async fn serve(listener: TcpListener, seed: u64) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((tcp, _)) = accepted {
                // A connection that fails does so at its client too.
                connections.spawn(async move { drop(answer(tcp, seed).await) });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from the server's side: answers only what was asked right.
async fn answer(mut tcp: TcpStream, seed: u64) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut asked = Vec::new();
    tcp.read_to_end(&mut asked).await?;
    let (number, request) = asked
        .split_first_chunk()
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let number = u64::from_be_bytes(*number);
    if request != Message::request(seed, number).0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    tcp.write_all(&Message::answer(seed, number).0).await?;
    tcp.shutdown().await
}

/// Bytes that belong to one connection and direction.
struct Message(Vec<u8>);

impl Message {
    fn request(seed: u64, number: u64) -> Self {
        Self::of(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn answer(seed: u64, number: u64) -> Self {
        Self::of(!seed ^ number.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
    }

    /// 100 to 611 bytes.
    fn of(mut state: u64) -> Self {
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            state ^ (state >> 32)
        };
        let length = 100 + usize::try_from(next() % 512).unwrap_or_default();
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&next().to_le_bytes());
        }
        bytes.truncate(length);
        Self(bytes)
    }
}

/// A seed for a run that was not given one.
pub(crate) fn seed_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().subsec_nanos().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_messages_of_its_own() {
        let (one, other) = (Message::request(1, 7), Message::request(1, 8));
        assert_ne!(one.0, other.0);
        assert_ne!(one.0, Message::answer(1, 7).0);
        assert_eq!(one.0, Message::request(1, 7).0);
        for number in 0..1000 {
            assert!((100..612).contains(&Message::answer(5, number).0.len()));
        }
    }
}
