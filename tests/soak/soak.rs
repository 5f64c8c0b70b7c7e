//! Streams of every shape at once, with faults, and every byte compared where it comes.

mod bytes;
mod ends;
mod faults;
mod ledger;
mod plan;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{
    Failure,
    arrangement::Arrangement,
    load::seed_of_now,
    options::{SoakOptions, Way},
    report::{self, Progress},
    usage::Usage,
};
use ends::{Account, EndOf, Reported, Role, Stage};
use faults::{FAULTS, inject};
use ledger::{Breach, Verdict, judge};
use plan::{Kind, Plan};

/// Bytes between two faults at most; a short run has each of them all the same.
const BETWEEN_FAULTS: u64 = 4 << 30;

/// Longest time that the other end of a stream may still need when the first one is over.
const OTHER_END: Duration = Duration::from_secs(60);

/// What is wrong and shown; the rest is counted.
const SHOWN: usize = 20;

#[derive(Serialize)]
struct Outcome {
    seed: u64,
    way: &'static str,
    bytes: u64,
    streams: u64,
    seconds: f64,
    verdicts: BTreeMap<&'static str, u64>,
    fired: BTreeMap<Kind, u64>,
    usage_before: [Usage; 2],
    usage_after: [Usage; 2],
    wrong: Vec<String>,
}

/// Runs it and says what was wrong.
///
/// # Errors
/// When it could not be run.
pub(crate) fn run(runtime: &Runtime, options: &SoakOptions) -> Result<Vec<String>, Failure> {
    let seed = options.every.seed.unwrap_or_else(seed_of_now);
    let mut progress = Progress::new();
    progress.say(&format!("seed {seed}"));
    let (arrangement, listener) = Arrangement::make(runtime, &options.every, options.way)?;
    let (reports, reported) = mpsc::channel();
    let stage = Stage::new(seed, reports);
    let server = runtime.spawn(Arc::clone(&stage).serve(listener));
    let before = arrangement.quiet()?;
    let begin = Instant::now();
    let mut soak = Soak {
        runtime,
        options,
        arrangement: &arrangement,
        stage,
        reported,
        progress,
        begin,
        next: 0,
        running: 0,
        open: HashMap::new(),
        strangers: Vec::new(),
        tally: Tally::default(),
        breaches: Vec::new(),
    };
    soak.play()?;
    let seconds = begin.elapsed().as_secs_f64();
    let Soak {
        stage,
        next: streams,
        mut tally,
        progress,
        ..
    } = soak;
    let bytes = *stage.moved.borrow();
    server.abort();
    // The agent is another process by now, whose figures need not be those of the first.
    let after = arrangement.settled(&before)?;
    if !after[0].holds_as(&before[0]) {
        tally.wrong(format!(
            "lkc-host holds {:?}, before {:?}",
            after[0], before[0]
        ));
    }
    let forward = arrangement.forward();
    if (forward.open, forward.parked) != (0, 0) {
        tally.wrong(format!("the forward has {forward:?}"));
    }
    for kind in Kind::ALL {
        if !tally.fired.contains_key(&kind) {
            tally.wrong(format!("{kind:?} never showed: nothing was tested by it"));
        }
    }
    drop(progress);
    tally.print(seed, options.way, bytes, seconds, &before, &after);
    let wrong = tally.lines();
    if let Some(path) = &options.every.json {
        let outcome = Outcome {
            seed,
            way: options.way.name(),
            bytes,
            streams,
            seconds,
            verdicts: tally.verdicts,
            fired: tally.fired,
            usage_before: before,
            usage_after: after,
            wrong: wrong.clone(),
        };
        report::write_json(&outcome, path)?;
    }
    Ok(wrong)
}

struct Soak<'a> {
    runtime: &'a Runtime,
    options: &'a SoakOptions,
    arrangement: &'a Arrangement,
    stage: Arc<Stage>,
    reported: mpsc::Receiver<Reported>,
    progress: Progress,
    begin: Instant,
    next: u64,
    running: u16,
    /// Streams of which not both accounts are in.
    open: HashMap<u64, [Option<Account>; 2]>,
    /// Accounts of servers that did not hear which stream it was.
    strangers: Vec<Account>,
    tally: Tally,
    breaches: Vec<Breach>,
}

impl Soak<'_> {
    fn play(&mut self) -> Result<(), Failure> {
        let bytes = self.options.bytes();
        let step = BETWEEN_FAULTS.min(bytes / (FAULTS.len() as u64 + 1));
        let (mut fault_at, mut faults) = (step, FAULTS.iter().cycle());
        loop {
            self.arrangement.check()?;
            let moved = *self.stage.moved.borrow();
            while moved < bytes && self.running < self.options.streams {
                let client = Arc::clone(&self.stage).client(self.arrangement.entry, self.next);
                // Ends by its own deadline.
                self.runtime.spawn(client);
                self.open.insert(self.next, [None, None]);
                self.next += 1;
                self.running += 1;
            }
            if moved >= bytes && self.running == 0 {
                break;
            }
            if moved >= fault_at && moved < bytes {
                fault_at += step;
                if let Some(&fault) = faults.next() {
                    self.break_link(fault)?;
                }
            }
            self.hear(Duration::from_millis(100));
            let tally = &self.tally;
            let gib = moved as f64 / f64::from(1 << 30);
            let rate = gib / self.begin.elapsed().as_secs_f64();
            let (begun, faults, wrong) = (self.next, self.breaches.len(), tally.count);
            self.progress.show(|| {
                format!(
                    "soak: {gib:.2} of {} GiB, {rate:.2} GiB/s, {begun} streams, \
                     {faults} faults, {wrong} wrong",
                    bytes >> 30
                )
            });
        }
        let end = Instant::now() + OTHER_END;
        while self
            .open
            .values()
            .any(|accounts| !self.may_be_judged(accounts))
        {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.hear(left.min(Duration::from_millis(100)));
        }
        for number in self.open.keys().copied().collect::<Vec<_>>() {
            self.judge(number);
        }
        for stranger in std::mem::take(&mut self.strangers) {
            // Connected, and then the link broke before a byte came.
            let empty = stranger.received == 0 && stranger.end == EndOf::Clean;
            let excused = empty && self.breaches.iter().any(|breach| breach.touches(&stranger));
            if !matches!(stranger.end, EndOf::Failed(_)) && !excused {
                let (end, received) = (stranger.end, stranger.received);
                let text =
                    format!("a server got {received} bytes of a stream's head, then {end:?}");
                self.tally.wrong(text);
            }
        }
        Ok(())
    }

    /// Whether nothing more can come: a server whose client failed may never have been asked.
    fn may_be_judged(&self, accounts: &[Option<Account>; 2]) -> bool {
        match accounts {
            [Some(client), None] => client.end != EndOf::Clean,
            [Some(_), Some(_)] => true,
            [None, _] => false,
        }
    }

    /// Takes the reports that come.
    fn hear(&mut self, patience: Duration) {
        let mut next = self.reported.recv_timeout(patience).ok();
        while let Some((role, number, account)) = next {
            if role == Role::Client {
                self.running -= 1;
            }
            match number.and_then(|number| Some((number, self.open.get_mut(&number)?))) {
                Some((number, accounts)) => {
                    accounts[usize::from(role == Role::Server)] = Some(account);
                    if accounts.iter().all(Option::is_some) {
                        self.judge(number);
                    }
                }
                None => self.strangers.push(account),
            }
            next = self.reported.try_recv().ok();
        }
    }

    fn judge(&mut self, number: u64) {
        let Some([client, server]) = self.open.remove(&number) else {
            return;
        };
        let plan = Plan::of(self.stage.seed, number);
        let Some(client) = client else {
            self.tally
                .wrong(format!("stream {number} never ended: {plan:?}"));
            return;
        };
        match judge(&plan, &client, server.as_ref(), &self.breaches) {
            Ok((verdict, fired)) => self.tally.note(verdict, fired),
            Err(why) => self
                .tally
                .wrong(format!("stream {number}: {why}; {plan:?}")),
        }
    }

    /// Breaks the link. That counts if streams were under way and, where their bytes travel on the
    /// link, if one of them broke by it.
    fn break_link(&mut self, fault: Kind) -> Result<(), Failure> {
        self.progress.say(&format!("fault: {fault:?}"));
        let (under_way, broken) = (self.running, self.tally.of(Verdict::Broken));
        // Nobody is heard meanwhile, so nobody is judged before it is known how long it was broken.
        let breach = inject(self.arrangement, fault, self.options.way)?;
        self.breaches.push(breach);
        self.hear(Duration::from_millis(100));
        let shows = match self.options.way {
            Way::Sockets => under_way > 0,
            Way::Streams => {
                let begin = Instant::now();
                while self.tally.of(Verdict::Broken) == broken && begin.elapsed() < OTHER_END {
                    self.hear(Duration::from_millis(100));
                }
                self.tally.of(Verdict::Broken) > broken
            }
        };
        if shows {
            self.tally.note_fired(fault);
        } else {
            self.tally.wrong(format!(
                "{fault:?} broke no stream, of {under_way} under way"
            ));
        }
        Ok(())
    }
}

/// What was seen so far.
#[derive(Default)]
struct Tally {
    verdicts: BTreeMap<&'static str, u64>,
    fired: BTreeMap<Kind, u64>,
    shown: Vec<String>,
    count: usize,
}

impl Tally {
    fn note(&mut self, verdict: Verdict, fired: Option<Kind>) {
        *self.verdicts.entry(name(verdict)).or_default() += 1;
        if let Some(kind) = fired {
            self.note_fired(kind);
        }
    }

    fn note_fired(&mut self, kind: Kind) {
        *self.fired.entry(kind).or_default() += 1;
    }

    fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts
            .get(name(verdict))
            .copied()
            .unwrap_or_default()
    }

    fn wrong(&mut self, what: String) {
        self.count += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(what);
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.shown.clone();
        if self.count > lines.len() {
            lines.push(format!("and {} more", self.count - lines.len()));
        }
        lines
    }

    fn print(
        &self,
        seed: u64,
        way: Way,
        bytes: u64,
        seconds: f64,
        before: &[Usage; 2],
        after: &[Usage; 2],
    ) {
        let gib = bytes as f64 / f64::from(1 << 30);
        let of = |verdict| self.of(verdict).to_string();
        let fired = self
            .fired
            .iter()
            .map(|(kind, count)| format!("{kind:?} {count}"));
        let held = |usage: &[Usage; 2]| {
            let [host, _] = usage;
            format!(
                "{} descriptors, {} threads, {} KiB",
                host.descriptors, host.threads, host.resident_kib
            )
        };
        report::result(
            &[
                ("seed", seed.to_string()),
                ("way", way.name().to_owned()),
                (
                    "moved and compared",
                    format!("{gib:.2} GiB, {:.2} GiB/s", gib / seconds),
                ),
                ("whole streams", of(Verdict::Whole)),
                ("aborted as planned", of(Verdict::Aborted)),
                ("broken by a fault", of(Verdict::Broken)),
                (
                    "disturbances that showed",
                    fired.collect::<Vec<_>>().join(", "),
                ),
                ("lkc-host before", held(before)),
                ("lkc-host at the end", held(after)),
            ],
            &self.lines(),
        );
    }
}

const fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Whole => "whole",
        Verdict::Aborted => "aborted",
        Verdict::Broken => "broken",
    }
}
