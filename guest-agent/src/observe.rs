//! Where observations come from: k3s' process, its kubeconfig, and its API.
//!
//! Everything is heard of by a watch: of the process by its descriptor, of files by inotify, of
//! objects by the API's own. Only `/readyz`, which has none, is asked again until it says ok.

mod api;
mod backoff;
mod file_watch;
mod kubeconfig;
mod object;
mod observer;
mod process_run;

pub use api::{ApiInputs, ClientError, ClientState, connect, follow_api};
pub use file_watch::FileWatch;
pub(crate) use kubeconfig::look;
pub use kubeconfig::{KubeconfigState, follow_kubeconfig};
pub use object::{WatchObjectError, watch_object};
pub use observer::{ConfigureError, Observer, ObserverTasks};
pub use process_run::{ProcessRun, started_at};

use crate::readiness::one_line;

/// An error with its causes, in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    one_line(&text)
}

#[cfg(test)]
mod tests;
