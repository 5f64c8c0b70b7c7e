//! Puts a cluster's entry into the user's own kubeconfig, and takes it out again.
//!
//! Only on request, under the lock that kubectl takes itself, and replacing the file at once. What
//! is not ours stays as it is: our entries carry a mark, and nothing without it is touched. The
//! values of the file are kept, its comments and anchors cannot be: then the old file is kept too.

mod edit;
mod file;
mod lock;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use thiserror::Error;

use self::{edit::EditError, file::File, lock::Lock};
use super::{Entry, node::Node};
use crate::{
    config::ClusterName,
    error::{CommandError, Kind},
    paths::{
        Paths,
        private::{PrivateError, ReadError},
    },
};

pub use self::lock::LockError;

/// Why the user's kubeconfig was left as it is.
#[derive(Debug, Error)]
pub enum MergeError {
    /// Somebody else holds the lock, or it cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ReadError,
    },
    /// The file is not YAML that can be kept.
    #[error("{path} cannot be understood: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with its line.
        message: String,
    },
    /// The entry does not fit in.
    #[error("{path} is left as it is")]
    Edit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: EditError,
    },
    /// What would be written does not read as what is meant.
    #[error("{path} holds values that would not survive being written")]
    Lossy {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] PrivateError),
}

impl From<MergeError> for CommandError {
    fn from(error: MergeError) -> Self {
        let (kind, hint) = match &error {
            MergeError::Lock(LockError::Held { path, .. }) => {
                let hint = format!("remove {} if no kubectl is running", path.display());
                (Kind::Conflict, Some(hint))
            }
            MergeError::Edit {
                source: EditError::Foreign { what, name },
                ..
            } => {
                let hint =
                    format!("rename or delete the {what} `{name}`, or name the cluster otherwise");
                (Kind::Conflict, Some(hint))
            }
            MergeError::Lossy { path } | MergeError::Syntax { path, .. } => {
                let hint = format!(
                    "kubectl config view --kubeconfig {} shows how kubectl reads it",
                    path.display()
                );
                (Kind::BadInput, Some(hint))
            }
            MergeError::Edit { .. }
            | MergeError::Read {
                source: ReadError::TooLong { .. },
                ..
            } => (Kind::BadInput, None),
            MergeError::Lock(LockError::Io { .. })
            | MergeError::Read { .. }
            | MergeError::Write(_) => (Kind::HostIo, None),
        };
        let command_error = Self::new(kind, error);
        match hint {
            Some(hint) => command_error.hint(hint),
            None => command_error,
        }
    }
}

/// What became of the user's kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Whether the file was written or removed.
    pub changed: bool,
    /// What the user may want to know, a line each.
    pub warnings: Vec<String>,
}

/// The kubeconfig that kubectl writes new entries to: the first file of `KUBECONFIG`, else
/// `~/.kube/config`.
#[must_use]
pub fn user_file(environment: &dyn Fn(&str) -> Option<OsString>, paths: &Paths) -> PathBuf {
    environment("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()))
        .unwrap_or_else(|| paths.home().join(".kube/config"))
}

/// Puts `entry` into the kubeconfig `path`, or brings the one that is there up to date. The
/// current context changes only when `make_current` says so.
pub async fn merge(path: &Path, entry: &Entry, make_current: bool) -> Result<Merged, MergeError> {
    file::make_parent(path)?;
    let _lock = Lock::acquire(path).await?;
    let file = File::read(path)?;
    let existed = file.exists();
    file.edit(|document| edit::insert(document, entry, make_current, existed).map(|()| After::Keep))
}

/// Takes the entry of `cluster` out of the kubeconfig `path`: the exact inverse of [`merge`].
pub async fn unmerge(path: &Path, cluster: &ClusterName) -> Result<Merged, MergeError> {
    if !path.exists() {
        return Ok(Merged {
            changed: false,
            warnings: Vec::new(),
        });
    }
    let _lock = Lock::acquire(path).await?;
    File::read(path)?.edit(|document| Ok(edit::remove(document, cluster)))
}

/// What to do with a file after its document was edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Write the document.
    Keep,
    /// Remove the file: it was made for us.
    Remove,
}

/// An edit of a document.
trait Edit: FnOnce(&mut Node) -> Result<After, EditError> {}
impl<F: FnOnce(&mut Node) -> Result<After, EditError>> Edit for F {}
