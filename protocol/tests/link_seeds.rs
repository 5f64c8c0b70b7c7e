//! Whole links under virtual time: drivers, handles and wakers, with the pace of every reader and
//! writer, the carrier's size and the moment of its loss decided by a seed.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lkc_protocol::{
    identity::Identity,
    link::{self, Encrypt, Incoming, LinkOptions, Stream, StreamError},
    message::{Dial, DialNetwork, Dialled},
    session::Limits,
};
use tokio::{
    io::duplex,
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

/// Virtual time that a run may take.
const DEADLINE: Duration = Duration::from_secs(600);

const SEEDS: u64 = 24;

/// SplitMix64, as in the session's simulation.
#[derive(Clone)]
struct Random(u64);

impl Random {
    const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn fork(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    /// Others get their turn, or time goes on.
    async fn pause(&mut self) {
        match self.below(8) {
            0 => sleep(Duration::from_micros(self.below(3000))).await,
            1..4 => yield_now().await,
            _ => {}
        }
    }
}

/// How a direction ended for its reader, after how many bytes.
type Ending = Result<u64, u64>;

fn byte(stream: &Stream, place: u64) -> u8 {
    (place % 251) as u8 ^ stream.id().0 as u8
}

async fn write(stream: &Stream, total: u64, mut random: Random) -> u64 {
    let mut written = 0;
    while written < total {
        random.pause().await;
        let count = (1 + random.below(60_000)).min(total - written);
        let bytes: Bytes = (written..written + count)
            .map(|place| byte(stream, place))
            .collect();
        if stream.halves().1.write(bytes).await.is_err() {
            return written;
        }
        written += count;
    }
    stream.finish();
    written
}

async fn read(stream: &Stream, mut random: Random) -> Ending {
    let mut count = 0;
    loop {
        random.pause().await;
        match stream.halves().0.read().await {
            Ok(Some(bytes)) => {
                for &seen in &bytes {
                    assert_eq!(seen, byte(stream, count), "at {count}");
                    count += 1;
                }
            }
            Ok(None) => return Ok(count),
            Err(StreamError::LinkDown) => return Err(count),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Both directions of one stream: what was written, and how the other direction ended.
async fn talk(stream: Stream, total: u64, mut random: Random) -> (u64, Ending) {
    let (one, other) = (random.fork(), random.fork());
    tokio::join!(write(&stream, total, one), read(&stream, other))
}

async fn serve(mut incoming: Incoming, total: u64, mut random: Random) -> Vec<(u64, Ending)> {
    let mut talks = JoinSet::new();
    while let Some(request) = incoming.next().await {
        random.pause().await;
        let stream = request.accept::<Dial>(&Dialled {
            address: String::new(),
        });
        talks.spawn(talk(stream, total, random.fork()));
    }
    talks.join_all().await
}

fn options(identity: &Arc<Identity>, encrypt: Encrypt) -> LinkOptions {
    LinkOptions {
        identity: Arc::clone(identity),
        version: "0.1.0".to_owned(),
        node: "seeded".to_owned(),
        boot_id: [1; 16],
        encrypt,
        locality: link::Locality::Local,
        limits: Limits {
            first_window: 20_000,
            window: 100_000,
            send_buffer: 50_000,
            ..Limits::default()
        },
    }
}

async fn run(seed: u64) {
    let mut random = Random(seed);
    let encrypt = [Encrypt::Auto, Encrypt::Always][usize::from(random.below(4) == 0)];
    let capacity = [64, 1000, 65_536, 1 << 20][usize::try_from(random.below(4)).unwrap()];
    let (near, far) = duplex(capacity);
    let identities = [(); 2].map(|()| Arc::new(Identity::generate().unwrap()));
    let [host, guest] = &identities;
    let (host_options, guest_options) = (options(host, encrypt), options(guest, encrypt));
    let authorized = [host.public_key()];
    let (connected, accepted) = tokio::join!(
        link::connect(near, guest.public_key(), &host_options),
        link::accept(far, &authorized, &guest_options),
    );
    let (link, _host_incoming, host_driver) = connected.unwrap();
    let (guest_link, incoming, guest_driver) = accepted.unwrap();
    let total = random.below(300_000);
    let cut_after = (random.below(3) == 0).then(|| Duration::from_micros(random.below(60_000)));
    let host_driver = tokio::spawn(host_driver.run());
    let guest_driver = tokio::spawn(async move {
        match cut_after {
            Some(after) => drop(timeout(after, guest_driver.run()).await),
            None => drop(guest_driver.run().await),
        }
    });
    let server = tokio::spawn(serve(incoming, total, random.fork()));
    let mut talks = JoinSet::new();
    for _ in 0..=random.below(6) {
        let (link, random) = (link.clone(), random.fork());
        talks.spawn(async move {
            let request = Dial {
                network: DialNetwork::Tcp,
                host: "localhost".to_owned(),
                port: 80,
            };
            match link.request(&request).await {
                Ok((_, stream)) => Some(talk(stream, total, random).await),
                Err(_) => None,
            }
        });
    }
    let asked = talks.join_all().await;
    // A close drops what is still queued: here everything has to arrive first.
    while link.stream_count() + guest_link.stream_count() > 0 && !link.is_closed() {
        sleep(Duration::from_millis(1)).await;
    }
    link.close();
    host_driver.await.unwrap();
    guest_driver.await.unwrap();
    let mut served = server.await.unwrap();
    let mut ours: Vec<_> = asked.into_iter().flatten().collect();
    for (written, ending) in ours.iter().chain(&served) {
        match *ending {
            // A clean end has everything in front of it.
            Ok(read) => assert_eq!(read, total),
            Err(read) => assert!(cut_after.is_some() && read <= total),
        }
        assert!(cut_after.is_some() || *written == total);
    }
    if cut_after.is_none() {
        ours.sort_unstable();
        served.sort_unstable();
        assert_eq!(ours, served);
    }
    assert_eq!((link.stream_count(), guest_link.stream_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn every_link_ends_with_every_byte_or_an_error_and_nothing_left() {
    for seed in 0..SEEDS {
        let ended = timeout(DEADLINE, run(seed)).await;
        assert!(ended.is_ok(), "seed {seed} is stuck");
    }
}
