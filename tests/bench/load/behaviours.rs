//! What both ends see of connections through a tunnel, beside what they see of direct ones.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use lkc_tests::behaviours::{Behaviour, Difference, Record, play};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::Target;
use crate::{Failure, interrupt::Interrupt};

/// How long an end waits for the other one directly, where nothing hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many times as long as directly a behaviour may take, beside what it always may.
const SLOWER: u32 = 8;

/// How long connections are awaited that come after their behaviour was given up.
const STRAGGLERS: Duration = Duration::from_millis(20);

/// Longest times through a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// What an end always waits for the other one.
    each: Duration,
    /// For all behaviours together.
    all: Duration,
}

impl Deadlines {
    /// So that a candidate on which much hangs does not hold up the others.
    pub(crate) const BENCH: Self = Self {
        each: Duration::from_millis(500),
        all: Duration::from_secs(20),
    };

    /// For a build that is not fast, on a machine that does other things.
    pub(crate) const CHECK: Self = Self {
        each: Duration::from_secs(10),
        all: Duration::from_secs(600),
    };
}

/// What both ends see of direct connections, and in what time.
pub(crate) struct Expected(Vec<(Behaviour, Record, Duration)>);

impl Expected {
    /// Plays `behaviours` directly.
    ///
    /// # Errors
    /// When there is no listener, or `Interrupted`.
    pub(crate) fn of_direct(
        behaviours: Vec<Behaviour>,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        runtime()?.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await;
            let listener = listener.map_err(Failure::to("listen"))?;
            let address = listener.local_addr().map_err(Failure::to("listen"))?;
            let nowhere = nowhere().await?;
            let mut played = Vec::new();
            for behaviour in behaviours {
                interrupt.check()?;
                let entry = if behaviour.is_refused() {
                    nowhere
                } else {
                    address
                };
                let begin = Instant::now();
                let record = play(&behaviour, entry, &listener, PATIENCE).await;
                played.push((behaviour, record, begin.elapsed()));
            }
            Ok(Self(played))
        })
    }
}

/// One that an end can tell.
pub(crate) struct Told {
    pub(crate) name: String,
    /// What both ends saw of a direct connection, and of this one where it did not take too long.
    pub(crate) records: (Record, Option<Record>),
}

/// The behaviours beside direct ones.
#[derive(Default)]
pub(crate) struct Compared {
    /// Those that an end can tell, and those that were not played.
    pub(crate) told: Vec<Told>,
    /// Refusals that come after the connect, which no listener can avoid.
    pub(crate) unavoidable: u32,
    /// All of them.
    pub(crate) count: u32,
    /// How many of those told were not played, because the others took the time.
    pub(crate) not_played: u32,
}

/// Plays what was played directly through a tunnel. The backend is gone afterwards.
///
/// # Errors
/// When there is no listener, or `Interrupted`.
pub(crate) fn compare(
    target: Target<'_>,
    expected: &Expected,
    deadlines: Deadlines,
    interrupt: &Interrupt,
) -> Result<Compared, Failure> {
    let listener = target.backend.retire();
    let listener = listener.ok_or_else(|| {
        Failure::Candidate("the backend's listener was given away before".to_owned())
    })?;
    runtime()?.block_on(async {
        let what = || Failure::to("listen");
        listener.set_nonblocking(true).map_err(what())?;
        let listener = TcpListener::from_std(listener).map_err(what())?;
        let end = Instant::now() + deadlines.all;
        let mut compared = Compared::default();
        let lines = || expected.0.iter();
        for (behaviour, direct, took) in lines().filter(|line| !line.0.is_refused()) {
            interrupt.check()?;
            let patience = deadlines.each + *took * SLOWER;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                compared.leave_out(behaviour, direct);
                continue;
            }
            // One step may hang after another.
            let playing = play(behaviour, target.entry, &listener, patience);
            let seen = timeout(left.min(patience * 2), playing).await.ok();
            if seen.as_ref() != Some(direct) {
                while timeout(STRAGGLERS, listener.accept()).await.is_ok() {}
            }
            compared.note(behaviour, direct, seen);
        }
        // Now nobody listens there any more.
        drop(listener);
        let beside = TcpListener::bind("127.0.0.1:0").await.map_err(what())?;
        for (behaviour, direct, took) in lines().filter(|line| line.0.is_refused()) {
            let patience = deadlines.each + *took * SLOWER;
            let playing = play(behaviour, target.entry, &beside, patience);
            let seen = timeout(patience * 2, playing).await.ok();
            compared.note(behaviour, direct, seen);
        }
        Ok(compared)
    })
}

impl Compared {
    fn note(&mut self, behaviour: &Behaviour, direct: &Record, seen: Option<Record>) {
        self.count += 1;
        let difference = seen.as_ref().map(|seen| seen.differs_from(direct));
        match difference {
            Some(Difference::None) => {}
            Some(Difference::Unavoidable) => self.unavoidable += 1,
            Some(Difference::Told) | None => self.told.push(Told {
                name: behaviour.name().to_owned(),
                records: (direct.clone(), seen),
            }),
        }
    }

    fn leave_out(&mut self, behaviour: &Behaviour, direct: &Record) {
        self.not_played += 1;
        self.note(behaviour, direct, None);
    }
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::to("start the runtime"))
}

async fn nowhere() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(Failure::to("find a free port"))
}
