//! The order of things: in each round every measurement visits the candidates in a new order, so
//! that what the machine does meanwhile meets all of them alike.

use std::{
    cell::RefCell,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lkc_tests::behaviours;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    Failure,
    candidates::{CANDIDATES, Candidate, Place, Running},
    interrupt::Interrupt,
    load::Expected,
    machine::Watch,
    measurement::{Figures, MEASUREMENTS, Measurement, Subject, Windows},
    options::RunOptions,
    record, report,
    results::{Measured, Results},
    shuffle::Shuffle,
};

/// Longest time that the quick form takes.
const QUICK: Duration = Duration::from_secs(118);

/// Failures after which a candidate is left out: each may have cost its deadline.
const MOST_FAILURES: usize = 5;

/// Measures, prints and keeps what was asked for.
///
/// # Errors
/// `Interrupted`, or when nothing can be measured or kept. A candidate that fails is a result.
pub(crate) fn run(options: &RunOptions) -> Result<(), Failure> {
    if options.record && cfg!(debug_assertions) {
        let why = "a debug build's figures are not worth keeping: run `cargo run --release`";
        return Err(Failure::Candidate(why.to_owned()));
    }
    let chosen = chosen(options)?;
    let interrupt = Interrupt::watch()?;
    raise_descriptor_limit();
    let seed = options.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().subsec_nanos().into()
    });
    report::progress(&format!("seed {seed}, {} rounds", options.rounds));
    let mut run = Run {
        means: Means {
            windows: if options.quick {
                Windows::QUICK
            } else {
                Windows::FULL
            },
            interrupt: &interrupt,
            direct: None,
        },
        quick: options.quick,
        shuffle: Shuffle::new(seed),
        measured: chosen.iter().map(Contender::new).collect(),
    };
    let watch = Watch::begin();
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < options.rounds {
        let round_begin = Instant::now();
        rounds += 1;
        report::progress(&format!("round {rounds} of {}", options.rounds));
        run.round(rounds)?;
        let more = rounds < options.rounds;
        if options.quick && more && begin.elapsed() + round_begin.elapsed() > QUICK {
            report::progress("the next round would not fit into two minutes");
            break;
        }
    }
    let candidates = run.measured.into_iter().map(|one| one.measured).collect();
    let results = Results {
        machine: watch.describe(),
        quick: options.quick,
        seed,
        rounds,
        candidates,
    };
    report::results(&results);
    if let Some(path) = &options.json {
        record::write_json(&results, path)?;
    }
    if options.record {
        record::write_page(&results)?;
    }
    Ok(())
}

fn chosen(options: &RunOptions) -> Result<Vec<Candidate>, Failure> {
    let mut chosen = if options.only.is_empty() {
        let quick = |candidate: &&Candidate| candidate.quick || !options.quick;
        CANDIDATES.iter().filter(quick).cloned().collect()
    } else {
        let named = options.only.iter().map(|name| Candidate::named(name));
        named.collect::<Result<Vec<_>, _>>()?
    };
    chosen.extend(options.before.clone().map(Candidate::before));
    Ok(chosen)
}

/// A thousand connections need more descriptors than a shell usually gives.
fn raise_descriptor_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Without it the idle connections fail, and say why.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

struct Run<'a> {
    means: Means<'a>,
    quick: bool,
    shuffle: Shuffle,
    measured: Vec<Contender>,
}

/// What a contender needs to measure.
#[derive(Clone, Copy)]
struct Means<'a> {
    windows: Windows,
    interrupt: &'a Interrupt,
    direct: Option<&'a Expected>,
}

struct Contender {
    candidate: Candidate,
    running: Option<Running>,
    has_worked: bool,
    figures: Figures,
    measured: Measured,
}

impl Contender {
    fn new(candidate: &Candidate) -> Self {
        let not_measured = candidate.available().err();
        Self {
            candidate: candidate.clone(),
            running: None,
            has_worked: false,
            figures: Figures::new(),
            measured: Measured {
                name: candidate.name,
                what: candidate.what,
                not_measured: not_measured.map(|error| error.to_string()),
                rounds: Vec::new(),
                failures: Vec::new(),
                told: Vec::new(),
            },
        }
    }

    /// Measures one thing; a failure is noted, and the candidate starts anew for the next.
    fn measure(
        &mut self,
        measurement: &Measurement,
        round: u32,
        means: Means<'_>,
    ) -> Result<(), Failure> {
        let ours_only = measurement.place == Place::Apart;
        if self.measured.not_measured.is_some() || ours_only && !self.candidate.is_ours() {
            return Ok(());
        }
        if measurement.fresh {
            self.running = None;
        }
        match self.try_to_measure(measurement, means) {
            Ok(()) => Ok(()),
            Err(Failure::Interrupted) => Err(Failure::Interrupted),
            Err(failure) => {
                let text = format!("round {round}, {}: {failure}", measurement.name);
                report::progress(&format!("{}: {text}", self.candidate.name));
                self.measured.failures.push(text);
                if self.measured.failures.len() >= MOST_FAILURES || !self.has_worked {
                    self.measured.not_measured = Some(format!("it does not work: {failure}"));
                }
                Ok(())
            }
        }
    }

    fn try_to_measure(
        &mut self,
        measurement: &Measurement,
        means: Means<'_>,
    ) -> Result<(), Failure> {
        let Means {
            windows,
            interrupt,
            direct,
        } = means;
        let running = match self.running.take() {
            Some(running) => running,
            None => self.candidate.start(measurement.place, interrupt)?,
        };
        self.has_worked = true;
        let subject = Subject {
            running: &running,
            windows,
            interrupt,
            direct,
            told: RefCell::default(),
        };
        (measurement.measure)(&subject, &mut self.figures)?;
        self.measured.told.extend(subject.told.take());
        running.target().backend.settle(interrupt)?;
        self.running = Some(running);
        Ok(())
    }
}

impl Run<'_> {
    fn round(&mut self, round: u32) -> Result<(), Failure> {
        for measurement in MEASUREMENTS {
            // What begins anew takes longest, and differs least from round to round.
            let long = measurement.fresh && round > 1
                || measurement.place == Place::Apart
                || measurement.once;
            if self.quick && long || measurement.once && round > 1 {
                continue;
            }
            let begin = Instant::now();
            if measurement.once {
                self.at_once(measurement, round)?;
            } else {
                self.in_turn(measurement, round)?;
            }
            let seconds = begin.elapsed().as_secs_f64();
            report::progress(&format!("  {}: {seconds:.1} s", measurement.name));
        }
        self.end_round();
        Ok(())
    }

    fn in_turn(&mut self, measurement: &Measurement, round: u32) -> Result<(), Failure> {
        for index in self.shuffle.order(self.measured.len()) {
            self.means.interrupt.check()?;
            if let Some(contender) = self.measured.get_mut(index) {
                contender.measure(measurement, round, self.means)?;
            }
        }
        Ok(())
    }

    fn at_once(&mut self, measurement: &Measurement, round: u32) -> Result<(), Failure> {
        let direct = Expected::of_direct(behaviours::all(), self.means.interrupt)?;
        let means = Means {
            direct: Some(&direct),
            ..self.means
        };
        thread::scope(|scope| {
            let measuring: Vec<_> = self
                .measured
                .iter_mut()
                .map(|contender| scope.spawn(|| contender.measure(measurement, round, means)))
                .collect();
            let mut ends = measuring.into_iter().map(|one| {
                let panicked = |_| Err(Failure::Candidate("a measurement panicked".to_owned()));
                one.join().unwrap_or_else(panicked)
            });
            ends.try_for_each(|end| end)
        })
    }

    fn end_round(&mut self) {
        for contender in &mut self.measured {
            contender.running = None;
            let figures = std::mem::take(&mut contender.figures);
            contender.measured.rounds.push(figures);
        }
    }
}
