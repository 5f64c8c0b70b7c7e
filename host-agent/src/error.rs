//! Errors as the user meets them: a kind that decides the exit code, a message, hints.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

use crate::control::Failure;

/// Class of an error. Each has one exit code, documented in the README.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// None of the others.
    Other,
    /// The command line is wrong.
    Usage,
    /// No such cluster, or no daemon where one is needed.
    NotFound,
    /// The guest cannot be reached.
    Unreachable,
    /// The other end is not who it should be, or does not accept us.
    Authentication,
    /// The time was up.
    Timeout,
    /// Somebody else has the port, the lock or the name.
    Conflict,
    /// A change was rolled back.
    RolledBack,
    /// The versions of two parts do not work together.
    Version,
    /// Configuration or data that cannot be used.
    BadInput,
    /// The host's files, permissions or kernel stand in the way.
    HostIo,
    /// k3s failed.
    K3s,
    /// A bug of lkc.
    Bug,
}

impl Kind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Other,
        Self::Usage,
        Self::NotFound,
        Self::Unreachable,
        Self::Authentication,
        Self::Timeout,
        Self::Conflict,
        Self::RolledBack,
        Self::Version,
        Self::BadInput,
        Self::HostIo,
        Self::K3s,
        Self::Bug,
    ];

    /// The process's exit code.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Unreachable => 4,
            Self::Authentication => 5,
            Self::Timeout => 6,
            Self::Conflict => 7,
            Self::RolledBack => 8,
            Self::Version => 9,
            Self::BadInput => 10,
            Self::HostIo => 11,
            Self::K3s => 12,
            Self::Bug => 70,
        }
    }

    /// What the exit code means, as the README's table has it.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Other => "something else failed",
            Self::Usage => "the command line is wrong",
            Self::NotFound => "no such cluster, or no daemon where one is needed",
            Self::Unreachable => "the guest cannot be reached",
            Self::Authentication => "the other end is not who it should be, or does not accept us",
            Self::Timeout => "the time was up",
            Self::Conflict => "somebody else has the port, the lock or the name",
            Self::RolledBack => "a change was rolled back",
            Self::Version => "the versions of two parts do not work together",
            Self::BadInput => "configuration or data cannot be used",
            Self::HostIo => "files, permissions or the kernel of this host stand in the way",
            Self::K3s => "k3s failed",
            Self::Bug => "a bug of lkc",
        }
    }
}

/// Exit codes that belong to no error.
pub const OTHER_EXIT_CODES: &[(u8, &str)] = &[
    (0, "done"),
    (130, "interrupted (Ctrl-C): the waiting ended, not the work"),
    (141, "the reader of stdout went away"),
    (143, "terminated: the waiting ended, not the work"),
];

/// The table of exit codes, in Markdown, as the README has it.
#[must_use]
pub fn exit_code_table() -> String {
    let kinds = Kind::ALL
        .iter()
        .map(|kind| (kind.exit_code(), kind.meaning()));
    let mut rows: Vec<_> = OTHER_EXIT_CODES.iter().copied().chain(kinds).collect();
    rows.sort_unstable();
    let rows = rows
        .iter()
        .map(|(code, meaning)| format!("| {code} | {meaning} |\n"));
    format!(
        "| code | meaning |\n|---:|---|\n{}",
        rows.collect::<String>()
    )
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct CommandError {
    /// Class, which decides the exit code.
    pub kind: Kind,
    /// What failed; its sources are printed as the reasons.
    pub source: Box<dyn Error + Send + Sync>,
    /// What to do, each an imperative sentence without a full stop.
    pub hints: Vec<String>,
    /// Log lines that explain it, not yet sanitised.
    pub tail: Vec<String>,
}

impl CommandError {
    /// An error without a hint.
    pub fn new(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            source: source.into(),
            hints: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Puts a message in front; what was the message becomes its reason.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.source = Box::new(Context {
            message: message.into(),
            source: self.source,
        });
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// A message in front of its reason.
#[derive(Debug)]
struct Context {
    message: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Error for Context {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            source: failure.message.into(),
            hints: failure.hints,
            tail: failure.tail,
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let mut message = error.to_string();
        let mut next = Error::source(&error);
        while let Some(reason) = next {
            message = format!("{message}: {reason}");
            next = reason.source();
        }
        Self {
            kind: error.kind,
            message,
            hints: error.hints,
            tail: error.tail,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own_in_the_table() {
        let table = exit_code_table();
        let mut codes: Vec<_> = OTHER_EXIT_CODES.iter().map(|(code, _)| *code).collect();
        for kind in Kind::ALL {
            let row = format!("| {} | {} |\n", kind.exit_code(), kind.meaning());
            assert!(table.contains(&row), "{kind:?} is not in the table");
            codes.push(kind.exit_code());
        }
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count, "a code is used twice");
        insta::assert_snapshot!(table, @"
        | code | meaning |
        |---:|---|
        | 0 | done |
        | 1 | something else failed |
        | 2 | the command line is wrong |
        | 3 | no such cluster, or no daemon where one is needed |
        | 4 | the guest cannot be reached |
        | 5 | the other end is not who it should be, or does not accept us |
        | 6 | the time was up |
        | 7 | somebody else has the port, the lock or the name |
        | 8 | a change was rolled back |
        | 9 | the versions of two parts do not work together |
        | 10 | configuration or data cannot be used |
        | 11 | files, permissions or the kernel of this host stand in the way |
        | 12 | k3s failed |
        | 70 | a bug of lkc |
        | 130 | interrupted (Ctrl-C): the waiting ended, not the work |
        | 141 | the reader of stdout went away |
        | 143 | terminated: the waiting ended, not the work |
        ");
    }

    #[test]
    fn reasons_reach_the_other_side_of_the_socket() {
        let error = CommandError::new(Kind::HostIo, "no space")
            .context("cannot write x")
            .hint("make room");
        let failure = Failure::from(error);
        assert_eq!(failure.message, "cannot write x: no space");
        assert_eq!(
            (failure.kind, failure.hints.as_slice()),
            (Kind::HostIo, &["make room".to_owned()][..])
        );
    }
}
