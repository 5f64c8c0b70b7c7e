//! Why there is no way over SSH.

use thiserror::Error;

use super::{
    authenticate::AuthError,
    host_key::HostKeyError,
    settings::{Hop, SettingsError},
    target::Target,
};
use crate::{carrier::ConnectFailure, error::Kind};

/// Why there is no way over SSH, and at which hop.
#[derive(Debug, Error)]
pub enum SshError {
    /// The configuration of a hop.
    #[error("cannot tell from the ssh configuration how to reach {target}")]
    Settings {
        /// Which.
        target: Target,
        /// What is wrong with it.
        source: SettingsError,
    },
    /// Nobody answers there.
    #[error("cannot connect to {hop}")]
    Connect {
        /// Where.
        hop: Hop,
        /// Why not.
        source: ConnectFailure,
    },
    /// It takes too long.
    #[error("{hop} took more than {seconds} s to {doing}")]
    Slow {
        /// Where.
        hop: Hop,
        /// What it was about to do.
        doing: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// It is not the host that is meant.
    #[error("{hop} is not trusted")]
    HostKey {
        /// Where.
        hop: Hop,
        /// The host as the user wrote it.
        written: String,
        /// What is wrong with its key.
        source: Box<HostKeyError>,
    },
    /// It has host keys of other types only.
    #[error("{hop} has no host key that lkc checks, only {}", theirs.join(", "))]
    NoCheckedKey {
        /// Where.
        hop: Hop,
        /// The types that it has.
        theirs: Vec<String>,
    },
    /// It does not let us in.
    #[error("cannot log in to {hop}")]
    Login {
        /// Where.
        hop: Hop,
        /// Why.
        source: AuthError,
    },
    /// The connection failed.
    #[error("the connection to {hop} failed while it was to {doing}")]
    Protocol {
        /// Where.
        hop: Hop,
        /// What it was about to do.
        doing: &'static str,
        /// What went wrong.
        source: Box<russh::Error>,
    },
    /// It leads no further.
    #[error("{hop} does not lead on to {to}: {why}")]
    NoWay {
        /// Where.
        hop: Hop,
        /// Where to.
        to: String,
        /// What it said.
        why: String,
        /// Whether its configuration forbids it.
        forbidden: bool,
    },
    /// It runs no command.
    #[error("{hop} does not run `{command}`: {why}")]
    NoCommand {
        /// Where.
        hop: Hop,
        /// What it was to run.
        command: String,
        /// What it said.
        why: String,
    },
}

impl SshError {
    /// The class of the error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Settings { .. } => Kind::BadInput,
            Self::HostKey { .. } | Self::NoCheckedKey { .. } | Self::Login { .. } => {
                Kind::Authentication
            }
            Self::Connect { .. }
            | Self::Slow { .. }
            | Self::Protocol { .. }
            | Self::NoWay { .. }
            | Self::NoCommand { .. } => Kind::Unreachable,
        }
    }

    /// Whether nobody listens there, which is how it is until a machine and its agent have started.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.is_absent(),
            _ => false,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::HostKey {
                written, source, ..
            } => source.hints(written),
            Self::NoCheckedKey { hop, .. } => vec![format!(
                "give the host an ed25519 key: `ssh-keygen -A` on it, then restart its sshd; or use a carrier by the ssh program: `exec:ssh {} lkc-guest stdio`",
                hop.host
            )],
            Self::Login { hop, source } => source.hints(&hop.user, &hop.host),
            Self::NoWay {
                forbidden: true, ..
            } => vec!["its sshd needs `AllowTcpForwarding yes` to be a jump host".to_owned()],
            _ => Vec::new(),
        }
    }
}
