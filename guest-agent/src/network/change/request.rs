//! What hosts ask of the network, and what they hear.

use std::time::Duration;

use lkc_protocol::error::{Refusal, RefusalCode};
use lkc_protocol::message::{
    ApplyNetwork, ConfirmNetwork, NetworkApplied, NetworkStatusAnswer, NetworkTried, TryNetwork,
};
use tokio::sync::oneshot;

use super::super::NetworkError;
use super::machine::Refused;
use super::{BootTime, ChangeId};
use crate::observe::describe;

/// Longest that a host may let a change wait.
pub(super) const LONGEST: Duration = Duration::from_secs(600);

/// What hosts ask.
#[derive(Debug)]
pub enum Request {
    /// Make it so, without a confirmation, until the next boot.
    Apply(
        ApplyNetwork,
        oneshot::Sender<Result<NetworkApplied, Refusal>>,
    ),
    /// Try it.
    Try(TryNetwork, oneshot::Sender<Result<NetworkTried, Refusal>>),
    /// Keep what is tried. With it comes since when the host's link is up.
    Confirm(
        ConfirmNetwork,
        BootTime,
        oneshot::Sender<Result<(), Refusal>>,
    ),
    /// Take it back.
    RollBack(ChangeId, oneshot::Sender<Result<(), Refusal>>),
    /// How it stands.
    Status(oneshot::Sender<Result<NetworkStatusAnswer, Refusal>>),
}

/// A host does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// It is not its turn.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It was tried and taken back.
    #[error("the network was not changed: {reason}{}", undone(.left.as_deref()))]
    TakenBack {
        /// Why.
        reason: String,
        /// What the way back left undone.
        left: Option<String>,
    },
    /// No such deadline.
    #[error("a deadline of {} ms is not between 1 s and {} s", .0, LONGEST.as_secs())]
    Deadline(u32),
}

impl From<TrialError> for Refusal {
    fn from(error: TrialError) -> Self {
        let code = match &error {
            TrialError::Refused(Refused::Busy { .. }) => RefusalCode::Busy,
            TrialError::Refused(Refused::OldLink | Refused::NotProven) => RefusalCode::Denied,
            TrialError::Refused(_) | TrialError::Deadline(_) => RefusalCode::Invalid,
            TrialError::Network(_) | TrialError::TakenBack { .. } => RefusalCode::Failed,
        };
        Self::new(code, describe(&error))
    }
}

impl From<NetworkError> for Refusal {
    fn from(error: NetworkError) -> Self {
        Self::new(RefusalCode::Failed, describe(&error))
    }
}

pub(super) fn undone(left: Option<&str>) -> String {
    match left {
        None => ", and is verified to be as before".to_owned(),
        Some(left) => format!("; it is not as before either, left to do: {left}"),
    }
}

/// Something that hosts should see without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The network is as a host asked.
    Applied(String),
    /// It is not, or not any more.
    Failed(String),
}
