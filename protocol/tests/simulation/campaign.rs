//! Many seeds, and what to do with one that fails.

use std::{
    cell::Cell,
    env,
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use crate::{scenario::Scenario, shrink::shrink, world::World};

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 400;

/// Seeds that are run twice to see that a seed says everything.
const TWICE: [u64; 12] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233];

/// Lines of a trace that are shown.
const TAIL: usize = 60;

#[derive(Debug)]
pub(crate) struct Failure {
    /// How many operations had been done; none when it failed while winding up.
    step: Option<usize>,
    message: String,
    trace: Vec<String>,
}

/// Runs one scenario; what it came to, as a number.
pub(crate) fn outcome(scenario: &Scenario, traced: bool) -> Result<u64, Failure> {
    let mut world = World::new(scenario.clone(), traced);
    let mut step = Some(0);
    let judged = caught(|| {
        for (index, &operation) in scenario.operations.iter().enumerate() {
            step = Some(index);
            world.apply(operation)?;
        }
        step = None;
        world.wind_up()
    });
    match judged {
        Ok(()) => Ok(world.digest),
        Err(message) => Err(Failure {
            step,
            message,
            trace: world.trace.take().unwrap_or_default(),
        }),
    }
}

#[test]
fn campaign() {
    let seeds = number("LKC_SEEDS").unwrap_or(SEEDS);
    let first = number("LKC_FIRST_SEED").unwrap_or(0);
    let started = Instant::now();
    let next = AtomicU64::new(first);
    let failed = thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| first_failure(&next, first + seeds)))
            .collect();
        let failures = workers.into_iter().filter_map(|it| it.join().ok()?);
        failures.min()
    });
    if let Some(seed) = failed {
        panic!("{}", report(seed));
    }
    if seeds > SEEDS {
        eprintln!("{seeds} seeds in {:.0?}", started.elapsed());
    }
}

/// Runs one seed, `LKC_SEED`, and prints what happens; without it, some seeds twice.
#[test]
fn replay() {
    if let Some(seed) = number("LKC_SEED") {
        match outcome(&Scenario::from_seed(seed), true) {
            Ok(digest) => eprintln!("seed {seed} passes: {digest:016x}"),
            Err(_) => panic!("{}", report(seed)),
        }
        return;
    }
    for seed in TWICE {
        let runs = [false, true].map(|traced| {
            let run = outcome(&Scenario::from_seed(seed), traced);
            run.unwrap_or_else(|_| panic!("{}", report(seed)))
        });
        assert_eq!(runs[0], runs[1], "seed {seed} does not say everything");
    }
}

fn first_failure(next: &AtomicU64, end: u64) -> Option<u64> {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return None;
        }
        if outcome(&Scenario::from_seed(seed), false).is_err() {
            // The others stop after the seeds that they are at.
            next.store(end, Ordering::Relaxed);
            return Some(seed);
        }
    }
}

/// What failed, as short as it can be made, and how to see it again.
fn report(seed: u64) -> String {
    let scenario = Scenario::from_seed(seed);
    let Err(failure) = outcome(&scenario, false) else {
        return format!("seed {seed} failed once and does not fail again");
    };
    let (short, shorter_failure) = shrink(&scenario);
    let shown = match outcome(&short, true) {
        Err(shown) => shown,
        Ok(_) => shorter_failure.unwrap_or(failure),
    };
    let mut text = format!("seed {seed}: {}\n", shown.message);
    let place = match shown.step {
        Some(step) => format!("in operation {step}"),
        None => "when everything was wound up".to_owned(),
    };
    let (before, after) = (scenario.operations.len(), short.operations.len());
    let _ = writeln!(
        text,
        "{place}, after leaving out {} of {before} operations; these {after} are left:",
        before - after
    );
    for (index, operation) in short.operations.iter().enumerate() {
        let _ = writeln!(text, "  {index:>3} {operation:?}");
    }
    let _ = writeln!(text, "what happened last:");
    for line in shown.trace.iter().rev().take(TAIL).rev() {
        let _ = writeln!(text, "  {line}");
    }
    for (end, limits) in ["host", "guest"].iter().zip(short.limits) {
        let _ = writeln!(text, "{end}: {limits:?}");
    }
    let _ = writeln!(text, "{:?}", short.shapes);
    let _ = write!(
        text,
        "again: LKC_SEED={seed} cargo test -p lkc-protocol --test simulation replay -- --nocapture"
    );
    text
}

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is a number, not `{value}`")))
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// A panic is a failure like any other, and says so only once.
fn caught(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CATCHING.get() {
                usual(info);
            }
        }));
    });
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHING.set(false);
    result.unwrap_or_else(|payload| {
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", words.unwrap_or("without words")))
    })
}
