//! Errors as the user reads them: what failed, why, what to do; with the log lines that explain it.

use std::{error::Error, fmt::Write};

use serde_json::{Value, json};

use super::Paint;
use crate::{error::CommandError, sanitize};

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
pub(super) fn json(error: &CommandError) -> Value {
    json!({ "error": object(error) })
}

/// For programs that follow: `{"event":"failed","error":{…}}`.
pub(super) fn event(error: &CommandError) -> Value {
    json!({ "event": "failed", "error": object(error) })
}

fn object(error: &CommandError) -> Value {
    let message = std::iter::once(error.to_string())
        .chain(reasons(error))
        .collect::<Vec<_>>()
        .join(": ");
    json!({
        "code": error.kind.exit_code(),
        "kind": error.kind,
        "message": message,
        "hints": error.hints,
        "tail": error.tail,
    })
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
