//! Whether the instrument works: known bytes through each form of our tunnel, and what both ends of
//! a connection can see of it.

use lkc_tests::behaviours::{all, every_split};

use crate::{
    Failure,
    candidates::{CANDIDATES, Candidate, Place},
    interrupt::Interrupt,
    load::{Deadlines, Expected, check_integrity, compare, ping},
    report,
};

/// Nothing, a byte, around the sizes at which frames and buffers end, and some more.
const LENGTHS: [u32; 7] = [0, 1, 4095, 65_536, 65_537, 262_145, 1_000_003];

/// With `splits`, also 64 KiB written in two pieces, split at every place.
///
/// # Errors
/// The first difference, or what could not be started.
pub(crate) fn run(splits: bool) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let mut expected = vec![Expected::of_direct(all(), &interrupt)?];
    if splits {
        expected.push(Expected::of_direct(every_split(), &interrupt)?);
    }
    for candidate in CANDIDATES.iter().filter(|candidate| candidate.is_ours()) {
        let running = candidate.start(Place::Here, &interrupt)?;
        let target = running.target();
        for length in LENGTHS {
            check_integrity(target, length)?;
        }
        ping(target, 16 * 1024, std::time::Duration::ZERO)?;
        drop(running);
        for expected in &expected {
            behaves(candidate, expected, &interrupt)?;
        }
        let split = if splits { ", split anywhere" } else { "" };
        report::line(&format!("{}: intact, as direct{split}", candidate.name));
    }
    Ok(())
}

/// Each comparison takes the backend away, and so has a tunnel of its own.
fn behaves(
    candidate: &Candidate,
    expected: &Expected,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let running = candidate.start(Place::Here, interrupt)?;
    let compared = compare(running.target(), expected, Deadlines::CHECK, interrupt)?;
    let Some(told) = compared.told.first() else {
        return Ok(());
    };
    let (direct, seen) = &told.records;
    let hangs = || "it hangs".to_owned();
    let seen = seen.as_ref().map_or_else(hangs, ToString::to_string);
    let (name, what) = (candidate.name, &told.name);
    let text = format!("{name}: {what}: directly {direct}, but here {seen}");
    Err(Failure::Candidate(text))
}
