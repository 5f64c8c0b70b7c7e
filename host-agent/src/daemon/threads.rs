//! Threads of a cluster's own, for everything that touches what its guest shares with this host.
//!
//! A guest under the same kernel can put descriptors on any message of a unix socket, and the
//! connections that it hands over are its as well as ours. Nothing that we do with such a
//! descriptor is sure to return at once, whatever flags it is asked with: closing a connection waits
//! as long as the guest has set it to linger, even where the kernel closes what was never asked for,
//! and a call on one waits while the guest is in a call on it, which may be in the middle of a page
//! that the guest never delivers. So the link and the connections of a cluster run here, and a guest
//! that stops these threads stops nothing but its own forwards.

use std::sync::Arc;

use tokio::runtime::{Builder, EnterGuard, Runtime};

use crate::{control::Failure, error::Kind};

/// Threads of one cluster at most. Connections share them.
const MOST: usize = 4;

/// The threads of one cluster. Clones are the same ones; they end with the last, and what still
/// runs on them is dropped then.
#[derive(Debug, Clone)]
pub(super) struct ClusterThreads(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    runtime: Option<Runtime>,
}

impl ClusterThreads {
    /// Starts them.
    ///
    /// # Errors
    /// When the system gives no threads or descriptors.
    pub(super) fn start() -> Result<Self, Failure> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors.min(MOST))
            .thread_name("cluster")
            .enable_all()
            .build()
            .map_err(|error| Failure {
                kind: Kind::HostIo,
                message: format!("cannot start the cluster's threads: {error}"),
                hints: vec!["look at the limits of processes and of open files".to_owned()],
                tail: Vec::new(),
            })?;
        let runtime = Some(runtime);
        Ok(Self(Arc::new(Threads { runtime })))
    }

    /// While the guard lives, what this thread spawns and opens belongs to the cluster's threads.
    pub(super) fn enter(&self) -> Option<EnterGuard<'_>> {
        self.0.runtime.as_ref().map(Runtime::enter)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waits for none of them: one may be held by the guest, and one may be this one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
