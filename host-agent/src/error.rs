//! Errors as the user meets them: a kind that decides the exit code, a message, hints.

use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

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
        Self { kind, source: source.into(), hints: Vec::new(), tail: Vec::new() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
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
