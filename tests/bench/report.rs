//! All that the benchmark prints: tables to standard output, progress to standard error.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program, and this is its output"
)]

mod table;

use crate::{Failure, candidates::CANDIDATES, results::Results};

pub(crate) use table::page;

pub(crate) fn line(text: &str) {
    println!("{text}");
}

pub(crate) fn progress(text: &str) {
    eprintln!("{text}");
}

pub(crate) fn failure(failure: &Failure) {
    eprintln!("lkc-bench: {failure}");
}

/// The candidates, and which cannot be measured here.
pub(crate) fn list() {
    for candidate in CANDIDATES {
        let mark = if candidate.quick { "quick" } else { "" };
        let missing = candidate.available().err();
        let missing = missing.map_or_else(String::new, |why| format!(" (not measured: {why})"));
        println!("{:<20}{mark:<7}{}{missing}", candidate.name, candidate.what);
    }
}

pub(crate) fn results(results: &Results) {
    print!("{}", page(results));
}
