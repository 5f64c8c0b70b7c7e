//! All that is printed: a live line while it runs, and the result.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program, and this is its output"
)]

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::Failure;

/// How often a log gets a line where a terminal has a live one.
const LOGGED: Duration = Duration::from_secs(15);

/// How often the live line changes.
const LIVE: Duration = Duration::from_millis(250);

/// One line that says how far it is.
pub(crate) struct Progress {
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: None,
        }
    }

    /// Shows what `text` says, when the last is old enough.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        let pause = if self.terminal { LIVE } else { LOGGED };
        if self.shown.is_some_and(|shown| shown.elapsed() < pause) {
            return;
        }
        self.shown = Some(Instant::now());
        if self.terminal {
            eprint!("\r\u{1b}[2K{}", text());
            // Without it the line is only late.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{}", text());
        }
    }

    /// A line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\u{1b}[2K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A table of two columns and, below it, what is wrong.
pub(crate) fn result(rows: &[(&str, String)], wrong: &[String]) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or_default();
    for (name, value) in rows {
        println!("{name:<width$}  {value}");
    }
    for wrong in wrong {
        println!("wrong: {wrong}");
    }
    println!("{}", if wrong.is_empty() { "passed" } else { "FAILED" });
}

pub(crate) fn failure(failure: &Failure) {
    eprintln!("lkc-soak: {failure}");
}

/// Writes a result as JSON.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_json<T: Serialize>(result: &T, path: &Path) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(result)
        .map_err(|error| Failure::Here(format!("the result: {error}")))?;
    std::fs::write(path, text + "\n")
        .map_err(|error| Failure::Here(format!("cannot write {}: {error}", path.display())))
}
