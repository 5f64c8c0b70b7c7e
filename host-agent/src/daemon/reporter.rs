//! How the tasks of a cluster tell the daemon what happened.

use tokio::sync::mpsc;

use super::state::{Event, Report};
use crate::config::ClusterName;

/// Reports that may wait. The daemon takes each in microseconds, so more means that it hangs, and
/// then whoever reports has to wait.
pub(super) const QUEUE: usize = 256;

/// A way to the daemon for the tasks of one run of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Reporter {
    pub(super) cluster: ClusterName,
    pub(super) run: u64,
    pub(super) events: mpsc::Sender<Event>,
}

impl Reporter {
    /// Reports; nobody listens any more when the daemon is about to end.
    pub(super) async fn send(&self, report: Report) {
        let event = Event::Reported {
            cluster: self.cluster.clone(),
            run: self.run,
            report,
        };
        let _ = self.events.send(event).await;
    }
}
