//! `lkc-host relay`.

use lkc_protocol::relay::{self, StdioError};

use crate::{
    cli::Relay,
    error::{CommandError, Kind},
};

/// Blocks until one direction ends. The process has to end then: a read of standard input may be
/// left.
pub(super) fn run(args: &Relay) -> Result<(), CommandError> {
    relay::stdio(&args.target).map_err(|error| {
        let kind = match error {
            StdioError::Stdio(_) => Kind::HostIo,
            StdioError::Connect { .. } | StdioError::Broke { .. } => Kind::Unreachable,
        };
        CommandError::new(kind, error)
    })
}
