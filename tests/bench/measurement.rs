//! What is measured of a candidate.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    candidates::{Place, Running},
    interrupt::Interrupt,
    load::{
        Bulk, Deadlines, Direction, Expected, Idle, Unread, compare, connects_per_second, ping,
    },
    statistics::quantile,
    usage::{CpuTimes, Memory},
};

/// Bytes of the larger round trip: about an answer of the Kubernetes API.
const LARGE: u32 = 16 * 1024;

/// Streams of "many".
const MANY: u32 = 16;

/// Connections that do nothing.
const IDLE: u32 = 1000;

/// Open streams that a link has to bear.
const OPEN: u32 = 10_000;

/// Unread streams each way.
const UNREAD: u32 = 4;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Figures of one candidate in one round, by name. Throughput is GiB/s, times are microseconds,
/// memory is MiB, processor time is seconds per GiB.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// How long to look at each thing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) warm_up: Duration,
    pub(crate) bulk: Duration,
    pub(crate) ping: Duration,
    pub(crate) connects: Duration,
}

impl Windows {
    pub(crate) const FULL: Self = Self {
        warm_up: Duration::from_millis(250),
        bulk: Duration::from_millis(750),
        ping: Duration::from_millis(400),
        connects: Duration::from_millis(500),
    };

    pub(crate) const QUICK: Self = Self {
        warm_up: Duration::from_millis(100),
        bulk: Duration::from_millis(300),
        ping: Duration::from_millis(200),
        connects: Duration::from_millis(200),
    };
}

/// One thing to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    /// Whether it needs a candidate that has done nothing before, and is for itself.
    pub(crate) fresh: bool,
    /// Whether each round would find the same, and whatever else goes on: it is measured once, of
    /// all candidates at the same time.
    pub(crate) once: bool,
    /// Where the backend has to be; what needs it apart is measured of ours only.
    pub(crate) place: Place,
    pub(crate) measure: fn(&Subject<'_>, &mut Figures) -> Result<(), Failure>,
}

/// What is measured, and how long.
pub(crate) struct Subject<'a> {
    pub(crate) running: &'a Running,
    pub(crate) windows: Windows,
    pub(crate) interrupt: &'a Interrupt,
    /// What both ends see of a direct connection, where that is compared.
    pub(crate) direct: Option<&'a Expected>,
    /// What an end can tell from a direct connection.
    pub(crate) told: RefCell<Vec<String>>,
}

/// All of it.
pub(crate) const MEASUREMENTS: &[Measurement] = &[
    measurement("up", false, |subject, figures| {
        subject.bulk(Direction::Up, 1, ["up", "cpu-up"], figures)
    }),
    measurement("down", false, |subject, figures| {
        subject.bulk(Direction::Down, 1, ["down", "cpu-down"], figures)
    }),
    measurement("both", false, |subject, figures| {
        subject.bulk(Direction::Both, 1, ["both", "cpu-both"], figures)
    }),
    measurement("16 up", false, |subject, figures| {
        subject.bulk(Direction::Up, MANY, ["16-up", "cpu-16-up"], figures)
    }),
    measurement("16 down", false, |subject, figures| {
        subject.bulk(Direction::Down, MANY, ["16-down", "cpu-16-down"], figures)
    }),
    measurement("round trips", false, |subject, figures| {
        subject.ping(1, ["ping-p50", "ping-p99"], figures)?;
        subject.ping(LARGE, ["ping-16k-p50", "ping-16k-p99"], figures)
    }),
    measurement("round trips beside bulk up", false, |subject, figures| {
        let names = [
            "beside-up",
            "beside-up-p50",
            "beside-up-p99",
            "beside-up-16k-p50",
            "beside-up-16k-p99",
        ];
        subject.ping_beside(Direction::Up, names, figures)
    }),
    measurement("round trips beside bulk down", false, |subject, figures| {
        let names = [
            "beside-down",
            "beside-down-p50",
            "beside-down-p99",
            "beside-down-16k-p50",
            "beside-down-16k-p99",
        ];
        subject.ping_beside(Direction::Down, names, figures)
    }),
    measurement("connections", false, |subject, figures| {
        for (clients, name) in [(1, "connects-1"), (8, "connects-8")] {
            let rate =
                connects_per_second(subject.running.target(), clients, subject.windows.connects)?;
            figures.insert(name, rate);
        }
        Ok(())
    }),
    measurement("idle connections", true, |subject, figures| {
        subject.idle(figures)
    }),
    measurement("unread streams", true, |subject, figures| {
        subject.unread(figures)
    }),
    Measurement {
        name: "10,000 open streams",
        fresh: true,
        once: false,
        place: Place::Apart,
        measure: |subject, figures| subject.open_many(figures),
    },
    // The last: it takes the backend away.
    Measurement {
        name: "TCP behaviours",
        fresh: true,
        once: true,
        place: Place::Here,
        measure: |subject, figures| subject.behaviours(figures),
    },
];

const fn measurement(
    name: &'static str,
    fresh: bool,
    measure: fn(&Subject<'_>, &mut Figures) -> Result<(), Failure>,
) -> Measurement {
    Measurement {
        name,
        fresh,
        once: false,
        place: Place::Here,
        measure,
    }
}

impl Subject<'_> {
    /// Rate and the processes' CPU time per GiB of `count` streams.
    fn bulk(
        &self,
        direction: Direction,
        count: u32,
        [rate, cpu]: [&'static str; 2],
        figures: &mut Figures,
    ) -> Result<(), Failure> {
        let bulk = Bulk::start(self.running.target(), direction, count, self.interrupt)?;
        self.interrupt.pause(self.windows.warm_up)?;
        let processes = self.running.processes();
        let (before, begin, from) = (CpuTimes::of(&processes), Instant::now(), bulk.received());
        self.interrupt.pause(self.windows.bulk)?;
        let (to, elapsed) = (bulk.received(), begin.elapsed());
        let spent = CpuTimes::of(&processes).since(&before);
        let moved = (to - from) as f64 / GIB;
        figures.insert(rate, moved / elapsed.as_secs_f64());
        if moved > 0.0 && !processes.is_empty() {
            figures.insert(cpu, spent.as_secs_f64() / moved);
        }
        Ok(())
    }

    fn ping(
        &self,
        size: u32,
        [p50, p99]: [&'static str; 2],
        figures: &mut Figures,
    ) -> Result<(), Failure> {
        let times = ping(self.running.target(), size, self.windows.ping)?;
        figures.insert(p50, quantile(&times, 0.5) / 1000.0);
        figures.insert(p99, quantile(&times, 0.99) / 1000.0);
        Ok(())
    }

    /// Round trips while one stream moves what it can, and how much that is meanwhile.
    fn ping_beside(
        &self,
        direction: Direction,
        [rate, p50, p99, large_p50, large_p99]: [&'static str; 5],
        figures: &mut Figures,
    ) -> Result<(), Failure> {
        let bulk = Bulk::start(self.running.target(), direction, 1, self.interrupt)?;
        self.interrupt.pause(self.windows.warm_up)?;
        let (begin, from) = (Instant::now(), bulk.received());
        self.ping(1, [p50, p99], figures)?;
        // The small round trips only: large ones are a load of their own.
        let moved = (bulk.received() - from) as f64 / GIB;
        figures.insert(rate, moved / begin.elapsed().as_secs_f64());
        self.interrupt.check()?;
        self.ping(LARGE, [large_p50, large_p99], figures)
    }

    fn idle(&self, figures: &mut Figures) -> Result<(), Failure> {
        let processes = self.running.processes();
        let before = Memory::of(&processes);
        let idle = Idle::open(self.running.target(), IDLE, self.interrupt)?;
        let memory = Memory::of(&processes);
        drop(idle);
        if !processes.is_empty() {
            figures.insert("idle-rss", memory.resident as f64 / MIB);
            figures.insert("idle-pss", memory.proportional as f64 / MIB);
            figures.insert("idle-pss-before", before.proportional as f64 / MIB);
        }
        Ok(())
    }

    fn open_many(&self, figures: &mut Figures) -> Result<(), Failure> {
        let idle = Idle::open(self.running.target(), OPEN, self.interrupt)?;
        let memory = Memory::of(&self.running.processes());
        figures.insert("open-pss", memory.proportional as f64 / MIB);
        figures.insert("open-lost", idle.lost() as f64);
        Ok(())
    }

    /// What others get while some streams are not read, between two looks at what they get without.
    fn unread(&self, figures: &mut Figures) -> Result<(), Failure> {
        let before = self.up_and_down()?;
        let unread = Unread::open(self.running.target(), UNREAD, self.interrupt)?;
        // What stands if the tunnel turns out to be stuck.
        figures.extend([("unread-up", 0.0), ("unread-down", 0.0)]);
        figures.extend([("read-up", before.0), ("read-down", before.1)]);
        let (up, down) = self.up_and_down()?;
        figures.extend([("unread-up", up), ("unread-down", down)]);
        self.ping(1, ["unread-p50", "unread-p99"], figures)?;
        drop(unread);
        self.running.target().backend.settle(self.interrupt)?;
        // Before and after, so that a machine that slows down or speeds up does not look like a loss.
        let after = self.up_and_down()?;
        figures.insert("read-up", f64::midpoint(before.0, after.0));
        figures.insert("read-down", f64::midpoint(before.1, after.1));
        Ok(())
    }

    /// What both ends see, beside what they see of a direct connection.
    fn behaviours(&self, figures: &mut Figures) -> Result<(), Failure> {
        let missing = || Failure::Candidate("nothing was played directly".to_owned());
        let direct = self.direct.ok_or_else(missing)?;
        let target = self.running.target();
        let compared = compare(target, direct, Deadlines::BENCH, self.interrupt)?;
        figures.insert("told", compared.told.len() as f64);
        figures.insert("unavoidable", f64::from(compared.unavoidable));
        figures.insert("behaviours", f64::from(compared.count));
        let names = compared.told.into_iter().map(|told| told.name);
        self.told.borrow_mut().extend(names);
        if compared.not_played > 0 {
            let count = compared.not_played;
            let note = format!("the last {count} counted unplayed, as too much hung before");
            self.told.borrow_mut().push(note);
        }
        Ok(())
    }

    fn up_and_down(&self) -> Result<(f64, f64), Failure> {
        let mut rates = Figures::new();
        self.bulk(Direction::Up, 1, ["up", "cpu"], &mut rates)?;
        self.bulk(Direction::Down, 1, ["down", "cpu"], &mut rates)?;
        let rate = |name| rates.get(name).copied().unwrap_or_default();
        Ok((rate("up"), rate("down")))
    }
}
