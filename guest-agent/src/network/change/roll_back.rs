//! Taking a change back: by the agent, and by the timer's process when there is none.

use super::super::NetworkError;
use super::super::session::{Before, Session};
use super::record::{Files, Outcome};
use super::{ChangeId, RecordError};

use std::path::Path;

/// Takes the change `id` back if it is still pending, verified, and writes down how that went. What
/// is over is left alone: the timer's process and the agent may both come.
///
/// # Errors
/// The record cannot be read, or the network is not as before.
pub async fn roll_back(id: ChangeId, state: &Path, runtime: &Path) -> Result<(), NetworkError> {
    let files = Files::new(state, runtime);
    let _lock = files.lock().await?;
    let Some(record) = files.record()?.filter(|record| {
        let change = record.change();
        change.is_some_and(|change| change.id == id)
    }) else {
        tracing::info!(%id, "the change is over, nothing is taken back");
        return Ok(());
    };
    let left = take_back(&files, &record.before).await;
    let reason = "no host has confirmed it in time, and the agent was not there";
    files.write_outcome(&Outcome::taken_back(id, reason, left.clone()))?;
    files.remove_record()?;
    match left {
        None => {
            tracing::info!(%id, "the change is taken back");
            Ok(())
        }
        Some(left) => Err(NetworkError::NotBack { left }),
    }
}

/// Brings the earlier state back; answers with what that left undone, in words.
pub(super) async fn take_back(files: &Files, before: &Before) -> Option<String> {
    files.forget_current();
    let mut session = match Session::open().await {
        Ok(session) => session,
        Err(error) => return Some(error.to_string()),
    };
    let reverted = session.revert(before).await;
    session.close().await;
    reverted.err().map(|error| {
        for failed in &error.failed {
            tracing::warn!(error = %failed, "a step back failed");
        }
        error.left
    })
}

/// So that a record's trouble is the network's.
impl From<RecordError> for NetworkError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}
