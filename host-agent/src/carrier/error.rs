//! Why there is no carrier.

use std::{error::Error, io};

use thiserror::Error;

use super::{Route, ssh::SshError};
use crate::{error::Kind, sanitize};

/// Why there is no carrier, and which.
#[derive(Debug, Error)]
#[error("cannot connect to {route}")]
pub struct CarrierError {
    /// Where to.
    pub route: Route,
    /// Why not.
    pub source: ConnectFailure,
}

impl CarrierError {
    /// Whether nobody listens there, which is how it is until the agent has started, and asking
    /// again costs nothing: over a network, or by a command, it does.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        self.route.is_near() && self.source.is_absent()
    }
}

/// What failed on the way to a connected carrier.
#[derive(Debug, Error)]
pub enum ConnectFailure {
    /// Nobody listens there, or the place does not exist yet.
    #[error("{0}")]
    Absent(io::Error),
    /// The system said no.
    #[error("{0}")]
    System(io::Error),
    /// A name has no address.
    #[error("cannot find the address of {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// A monitor said something other than that it connects.
    #[error("the virtual machine monitor answered `{0}` and not OK")]
    Answer(String),
    /// Nothing was said for too long.
    #[error("{what} said nothing within {seconds} s")]
    Silent {
        /// Who.
        what: &'static str,
        /// For how long.
        seconds: u64,
    },
    /// A program cannot be started.
    #[error("cannot run {program}: {source}")]
    Program {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// SSH, with its reasons.
    #[error("{}", reasons(.0.as_ref()))]
    Ssh(Box<SshError>),
    /// This system has no such carriers.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl ConnectFailure {
    /// What the system says of a socket.
    pub(super) fn of_socket(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Self::Absent(source),
            _ => Self::System(source),
        }
    }

    /// An answer that is none.
    pub(super) fn answer(bytes: &[u8]) -> Self {
        Self::Answer(sanitize::line(&String::from_utf8_lossy(bytes)))
    }

    /// Whether nobody listens there.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        match self {
            Self::Absent(_) => true,
            Self::Ssh(error) => error.is_absent(),
            _ => false,
        }
    }

    /// The class of the error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ssh(error) => error.kind(),
            _ => Kind::Unreachable,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Ssh(error) => return error.hints(),
            Self::Absent(_) => "look whether the machine runs and lkc-guest in it listens there",
            Self::Resolve { .. } => "look for a mistake in the name, or write an address",
            Self::Answer(_) => {
                "this socket belongs to something else, or the machine has no such port"
            }
            Self::Silent { .. } => "look whether the machine runs and its network is up",
            Self::Program { .. } => "install the program, or write its path",
            Self::System(_) => "look whether you may use it",
            Self::Unsupported(_) => "use another carrier",
        };
        vec![hint.to_owned()]
    }
}

impl From<SshError> for ConnectFailure {
    fn from(error: SshError) -> Self {
        Self::Ssh(Box::new(error))
    }
}

/// An error and what it comes from, on one line.
fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    sanitize::line(&text)
}
