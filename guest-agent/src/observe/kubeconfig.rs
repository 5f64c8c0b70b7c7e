//! The credentials as they are in k3s' kubeconfig, now and whenever they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use lkc_protocol::message::KubeconfigValues;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{FileWatch, describe};
use crate::k3s::credentials::{self, CredentialsError};

/// How long a file that cannot be used stays unmentioned: k3s may be in the middle of writing it.
const SETTLE: Duration = Duration::from_millis(200);

/// Pause before a watch that broke is made again.
const REWATCH_PAUSE: Duration = Duration::from_secs(1);

/// What the kubeconfig holds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum KubeconfigState {
    /// There is no file yet.
    Absent,
    /// There is one.
    Values(Arc<KubeconfigValues>),
    /// There is one that cannot be used.
    Unusable {
        /// Why, one line.
        error: String,
    },
}

impl KubeconfigState {
    /// The values, if there are any.
    #[must_use]
    pub fn values(&self) -> Option<&Arc<KubeconfigValues>> {
        match self {
            Self::Values(values) => Some(values),
            Self::Absent | Self::Unusable { .. } => None,
        }
    }
}

/// Reads the file now and after every change, until the token is cancelled. Tells only of states
/// that differ. `reread` asks for another look, as after an answer that the values are not valid.
pub async fn follow_kubeconfig(
    path: PathBuf,
    state: watch::Sender<KubeconfigState>,
    reread: Arc<Notify>,
    cancel: CancellationToken,
) {
    let follow = async {
        loop {
            if let Err(error) = follow_once(&path, &state, &reread).await {
                tracing::warn!(%error, path = %path.display(), "cannot watch the kubeconfig of k3s");
            }
            tokio::time::sleep(REWATCH_PAUSE).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = follow => {}
    }
}

async fn follow_once(
    path: &Path,
    state: &watch::Sender<KubeconfigState>,
    reread: &Notify,
) -> std::io::Result<()> {
    let mut watch = FileWatch::new(path)?;
    loop {
        let seen = look(path);
        let pause = match &seen {
            KubeconfigState::Unusable { .. } => Some(SETTLE),
            KubeconfigState::Absent | KubeconfigState::Values(_) => None,
        };
        match pause {
            None => publish(state, seen),
            Some(pause) => match tokio::time::timeout(pause, watch.changed()).await {
                Ok(changed) => {
                    changed?;
                    continue;
                }
                Err(_) => publish(state, seen),
            },
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            () = reread.notified() => {}
        }
    }
}

/// What the file holds now.
pub(crate) fn look(path: &Path) -> KubeconfigState {
    match credentials::read(path) {
        Ok(values) => KubeconfigState::Values(Arc::new(values)),
        Err(CredentialsError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            KubeconfigState::Absent
        }
        Err(error) => KubeconfigState::Unusable {
            error: describe(&error),
        },
    }
}

fn publish(state: &watch::Sender<KubeconfigState>, seen: KubeconfigState) {
    state.send_if_modified(|current| {
        let differs = *current != seen;
        if differs {
            tracing::debug!(
                usable = seen.values().is_some(),
                "the kubeconfig of k3s has changed"
            );
            *current = seen;
        }
        differs
    });
}
