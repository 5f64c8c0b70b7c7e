//! Tries the forward of a cluster's API as a client would, and checks that *this* cluster answers.
//!
//! A probe connects to the forward's real listeners and makes a TLS handshake in which the server
//! has to show a certificate of the cluster's authority for 127.0.0.1, the name that its kubeconfig
//! uses. No credentials are shown and no request is made. What fails is told with the layer it
//! failed in.

mod check;
mod reach;
#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Notify, time::sleep};

use super::{
    forwarder::{Place, WayIn},
    reporter::Reporter,
    state::{Probed, Report},
};
use crate::{
    control::{Failure, ProbeStatus},
    kubeconfig::ServerIdentity,
};
use check::{Check, ProbeError};
pub(super) use reach::reach;

/// Longest time for one address, from the connect to the end of the handshake.
const DEADLINE: Duration = Duration::from_secs(5);

/// Between probes while all is well.
const PERIOD: Duration = Duration::from_secs(30);

/// After the first probe that failed; doubled with each one more, up to [`PERIOD`].
const RETRY: Duration = Duration::from_millis(500);

/// Probes the forward of an API, one probe at a time, until it is dropped.
pub(super) struct Prober {
    pub(super) way_in: WayIn,
    pub(super) identity: ServerIdentity,
    /// Travels back with every report.
    pub(super) number: u64,
    /// Asks for the next probe at once.
    pub(super) now: Arc<Notify>,
    pub(super) reporter: Reporter,
}

impl Prober {
    /// Probes now and then again and again.
    pub(super) async fn run(self) {
        let check = Check::new(&self.identity);
        let (mut failures, mut logged) = (0, None);
        loop {
            let outcome = match &check {
                Ok(check) => probe(check, &self.way_in, DEADLINE).await,
                Err(error) => Err(error.clone()),
            };
            failures = match &outcome {
                Ok(_) => 0,
                Err(_) => failures + 1,
            };
            let (number, cluster) = (self.number, &self.reporter.cluster);
            let probed = probed(outcome, cluster.as_str());
            let detail = &probed.status.detail;
            if logged.as_ref() != Some(detail) {
                tracing::info!(%cluster, ok = probed.status.ok, "probe of the API: {detail}");
                logged = Some(detail.clone());
            }
            self.reporter.send(Report::Probed { number, probed }).await;
            let pause = pause(failures, RandomState::new().hash_one(failures));
            tokio::select! {
                () = sleep(pause) => {}
                () = self.now.notified() => failures = 0,
            }
        }
    }
}

/// Probes every address of a forward. The latency is the longest of them.
async fn probe(check: &Check, way_in: &WayIn, deadline: Duration) -> Result<Duration, ProbeError> {
    let mut latency = Duration::ZERO;
    for place in &way_in.places {
        // The API's forward listens on ports only.
        let Place::Address(address) = *place else {
            continue;
        };
        latency = latency.max(check.connect(way_in, address, deadline).await?);
    }
    Ok(latency)
}

fn probed(outcome: Result<Duration, ProbeError>, cluster: &str) -> Probed {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let checked_unix_ms = since_1970.map_or(0, millis);
    let (ok, detail, latency_ms, failure) = match outcome {
        Ok(latency) => {
            let detail = "this cluster answers on this host".to_owned();
            (true, detail, Some(millis(latency)), None)
        }
        Err(error) => {
            let detail = error.to_string();
            let failure = Failure {
                kind: error.kind(),
                message: format!(
                    "the API of cluster {cluster} does not answer on this host: {detail}"
                ),
                hints: vec![error.hint(cluster)],
                tail: Vec::new(),
            };
            (false, detail, None, Some(failure))
        }
    };
    let status = ProbeStatus {
        ok,
        detail,
        latency_ms,
        checked_unix_ms,
    };
    Probed { status, failure }
}

/// The time to the next probe, after so many that failed in a row: up to a tenth less than the
/// bound, by chance, so that clusters do not probe in step.
fn pause(failures: u32, random: u64) -> Duration {
    let bound = match failures {
        0 => PERIOD,
        more => RETRY.saturating_mul(1 << (more - 1).min(16)).min(PERIOD),
    };
    let thousandths = u32::try_from(random % 100).unwrap_or_default();
    bound - bound / 1000 * thousandths
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
