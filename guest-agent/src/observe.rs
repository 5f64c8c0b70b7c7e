//! Where observations come from: k3s' process, its kubeconfig, and its API.
//!
//! Everything is heard of by a watch: of the process by its descriptor, of files by inotify, of
//! objects by the API's own. Only `/readyz`, which has none, is asked again until it says ok.

mod file_watch;
mod kubeconfig;

pub use file_watch::FileWatch;
pub use kubeconfig::{KubeconfigState, follow_kubeconfig};
