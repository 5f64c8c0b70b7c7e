//! What `sandbox-enter` and `sandbox-init` tell whoever started them: JSON lines on stdout, the
//! last one when the agent runs or when something failed.

use std::fmt;
use std::io::{self, Write};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::machine::record;

/// What is kept of a running sandbox.
pub(super) type Record = record::Record<Made>;

/// How a sandbox was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) mode: SandboxMode,
}

/// How the namespaces are entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SandboxMode {
    /// With root's own privileges. Root in the sandbox is root on the host.
    Root,
    /// In a user namespace. Root in the sandbox is the calling user on the host.
    UserNamespace,
}

impl fmt::Display for SandboxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "as root",
            Self::UserNamespace => "in a user namespace",
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The namespaces can be entered; the answer to a probe.
    Entered(SandboxMode),
    /// The machine's first process exists and its record is written.
    Started(Record),
    /// The agent runs.
    Ready,
    Failed(Failure),
}

impl Report {
    /// Writes to stdout. Nobody may be listening any more, which is no reason to stop.
    pub(super) fn send(&self) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            let mut stdout = io::stdout().lock();
            let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
        }
    }
}

/// A step that the kernel or the file system refused.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    /// What was being done, as a phrase: "mount /proc".
    pub(super) step: String,
    pub(super) why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailureKind {
    Namespaces,
    Proc,
    Interface,
    Other,
}

impl Failure {
    /// For `map_err`: the error came from doing `step`.
    pub(super) fn at<E: fmt::Display>(step: impl Into<String>) -> impl FnOnce(E) -> Self {
        Self::of(FailureKind::Other, step)
    }

    pub(super) fn of<E: fmt::Display>(
        kind: FailureKind,
        step: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let step = step.into();
        move |error| Self {
            kind,
            step,
            why: error.to_string(),
        }
    }

    /// As [`Failure::of`], in the words for an error number that a person reads first.
    pub(super) fn of_errno(
        kind: FailureKind,
        step: impl Into<String>,
    ) -> impl FnOnce(Errno) -> Self {
        let step = step.into();
        move |errno| Self {
            kind,
            step,
            why: errno.desc().to_lowercase(),
        }
    }
}
