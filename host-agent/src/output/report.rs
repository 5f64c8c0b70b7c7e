//! Errors as the user reads them: what failed, why, what to do; with the log lines that explain it.

use std::{error::Error, fmt::Write};

use serde::Serialize;

use super::Paint;
use crate::{
    error::{CommandError, Kind},
    sanitize,
};

/// For people, several lines.
pub(super) fn text(error: &CommandError, paint: Paint) -> String {
    let mut text = format!("{} {}\n", paint.red("error:"), block(&error.to_string()));
    for reason in reasons(error) {
        let _ = writeln!(text, "  because {}", block(&reason));
    }
    if !error.tail.is_empty() {
        text.push('\n');
        for line in &error.tail {
            let _ = writeln!(text, "    {}", sanitize::line(line));
        }
    }
    if !error.hints.is_empty() {
        text.push('\n');
    }
    for hint in &error.hints {
        let _ = writeln!(text, "{} {}", paint.cyan("hint:"), sanitize::line(hint));
    }
    text
}

/// For programs: `{"error":{…}}`.
#[derive(Debug, Serialize)]
pub(super) struct ErrorDocument<'a> {
    pub(super) error: ErrorObject<'a>,
}

/// An error for programs.
#[derive(Debug, Serialize)]
pub(super) struct ErrorObject<'a> {
    code: u8,
    kind: Kind,
    message: String,
    hints: &'a [String],
    tail: &'a [String],
}

impl<'a> ErrorObject<'a> {
    pub(super) fn new(error: &'a CommandError) -> Self {
        let messages: Vec<_> = std::iter::once(error.to_string())
            .chain(reasons(error))
            .collect();
        Self {
            code: error.kind.exit_code(),
            kind: error.kind,
            message: messages.join(": "),
            hints: &error.hints,
            tail: &error.tail,
        }
    }
}

fn reasons(error: &CommandError) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut next: Option<&dyn Error> = error.source();
    while let Some(reason) = next {
        reasons.push(reason.to_string());
        next = reason.source();
    }
    reasons
}

/// A message may have lines of its own, as when it quotes a file; each is made harmless.
fn block(message: &str) -> String {
    message
        .lines()
        .map(sanitize::line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests;
