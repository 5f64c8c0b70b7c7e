//! How a command ended.

use std::{fmt, ops::Deref, os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

use serde_json::Value;

use crate::redact::redact;

/// How a command ended and what it said.
#[must_use = "a command that failed unnoticed makes the test say nothing"]
#[derive(Clone)]
pub struct Outcome {
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    /// What it printed on its standard output.
    pub stdout: String,
    /// What it printed on its standard error.
    pub stderr: String,
    /// From its start to its end.
    pub elapsed: Duration,
    pub(crate) known: Vec<(String, String)>,
}

impl Outcome {
    /// Its exit code, or 128 and the signal that killed it, as a shell has it.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        let signal = self.status.signal().unwrap_or_default();
        self.status.code().unwrap_or(128 + signal)
    }

    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Checked {
        assert_eq!(self.exit_code(), code, "{self}");
        self.says_no_nonsense();
        Checked(self)
    }

    /// Fails the test unless the exit code is 0.
    #[track_caller]
    pub fn succeeds(self) -> Checked {
        self.exits(0)
    }

    /// Fails the test unless standard error contains `text`.
    #[track_caller]
    pub fn explains(&self, text: &str) {
        assert!(self.stderr.contains(text), "no `{text}` in: {self}");
    }

    /// Fails the test unless standard output contains `text`.
    #[track_caller]
    pub fn prints(&self, text: &str) {
        assert!(self.stdout.contains(text), "no `{text}` in: {self}");
    }

    /// Standard output as one JSON document.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Standard output as one JSON document a line.
    #[track_caller]
    #[must_use]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}: {self}"))
        };
        self.stdout.lines().map(parse).collect()
    }

    /// Everything, with what differs from run to run replaced.
    #[must_use]
    pub fn redacted(&self) -> String {
        redact(&self.to_string(), &self.known)
    }

    /// Standard error, with what differs from run to run replaced.
    #[must_use]
    pub fn redacted_stderr(&self) -> String {
        format!("{}[EOF]", redact(&self.stderr, &self.known))
    }

    /// Standard output, with what differs from run to run replaced.
    #[must_use]
    pub fn redacted_stdout(&self) -> String {
        format!("{}[EOF]", redact(&self.stdout, &self.known))
    }

    /// Whatever happens, nobody sees a panic, a backtrace or a terminal's control sequence.
    #[track_caller]
    fn says_no_nonsense(&self) {
        for text in [&self.stdout, &self.stderr] {
            assert!(!text.contains("panicked at"), "a panic: {self}");
            assert!(!text.contains("stack backtrace"), "a backtrace: {self}");
            assert!(!text.contains('\u{1b}'), "an escape sequence: {self:?}");
        }
    }
}

/// A command that ended as it should.
pub struct Checked(Outcome);

impl Deref for Checked {
    type Target = Outcome;

    fn deref(&self) -> &Outcome {
        &self.0
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "$ {}", self.command)?;
        writeln!(formatter, "exit code {}", self.exit_code())?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            writeln!(formatter, "--- {name}")?;
            write!(formatter, "{text}")?;
            writeln!(formatter, "[EOF]")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {:?}", self.stdout, self.stderr)
    }
}
