//! Whether the instrument works: known bytes through each form of our tunnel, and what both ends of
//! a connection can see of it.

use crate::{
    Failure,
    candidates::{CANDIDATES, Place},
    interrupt::Interrupt,
    load::{Deadlines, Expected, check_integrity, compare, ping},
    report,
};

/// Nothing, a byte, around the sizes at which frames and buffers end, and some more.
const LENGTHS: [u32; 7] = [0, 1, 4095, 65_536, 65_537, 262_145, 1_000_003];

/// # Errors
/// The first difference, or what could not be started.
pub(crate) fn run() -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let expected = Expected::of_direct(&interrupt)?;
    for candidate in CANDIDATES.iter().filter(|candidate| candidate.is_ours()) {
        let running = candidate.start(Place::Here, &interrupt)?;
        let target = running.target();
        for length in LENGTHS {
            check_integrity(target, length)?;
        }
        ping(target, 16 * 1024, std::time::Duration::ZERO)?;
        let compared = compare(target, &expected, Deadlines::CHECK, &interrupt)?;
        if let Some(told) = compared.told.first() {
            let (direct, seen) = &told.records;
            let seen = seen
                .as_ref()
                .map_or_else(|| "it hangs".to_owned(), ToString::to_string);
            let text = format!(
                "{}: {}: directly {direct}, but here {seen}",
                candidate.name, told.name
            );
            return Err(Failure::Candidate(text));
        }
        report::line(&format!("{}: intact, as direct", candidate.name));
    }
    Ok(())
}
