//! A link of one's own beside the daemon's, for as long as a question takes.

use std::time::Duration;

use lkc_protocol::{
    handshake::Step,
    link::{self, Encrypt, Link, LinkEnd, LinkOptions},
    message::Request,
    session::Limits,
};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    examine::Stage,
    guest_link::{Credentials, Dialled, Dialling, failure},
    provision,
};
use crate::{
    carrier::{ConnectFailure, Route},
    config::ClusterName,
    control::Failure,
    error::Kind,
    paths::Paths,
};

/// Longest time for one carrier: each step of the handshake has a shorter one.
const DEADLINE: Duration = Duration::from_secs(12);

/// How long the guest may take to see that the link ends.
const GOODBYE: Duration = Duration::from_secs(1);

/// A link that stands, and what moves its bytes.
#[derive(Debug)]
pub struct Visit {
    link: Link,
    banners: Vec<String>,
    driving: JoinHandle<LinkEnd>,
}

impl Visit {
    /// Connects over the carrier that leads to the guest first, the earlier ones with a head start;
    /// `ours` says whether lkc made the machine.
    ///
    /// # Errors
    /// No carrier does; the failure is the one that came first.
    pub async fn begin(
        paths: &Paths,
        cluster: &ClusterName,
        routes: &[Route],
        ours: bool,
    ) -> Result<Self, Failure> {
        let credentials =
            provision::credentials(paths, cluster, [0; 16]).map_err(|error| error.to_failure())?;
        let credentials = &credentials;
        let dial = |route: Route| -> Dialled<'_, Self, Option<Failure>> {
            Box::pin(async move {
                match timeout(DEADLINE, Self::over(&route, cluster, credentials, ours)).await {
                    Ok(reached) => reached.map_err(|(_, failure)| Some(failure)),
                    Err(_) => Err(None),
                }
            })
        };
        let reached = Dialling::new().round(routes, dial).await;
        reached.map_err(|failures| {
            let told = failures.into_iter().find_map(|(_, failure)| failure);
            told.unwrap_or_else(|| Failure {
                kind: Kind::Unreachable,
                message: format!("not connected within {} s", DEADLINE.as_secs()),
                hints: Vec::new(),
                tail: Vec::new(),
            })
        })
    }

    /// Connects over one carrier, and says how far that went.
    pub(super) async fn over(
        route: &Route,
        cluster: &ClusterName,
        credentials: &Credentials,
        ours: bool,
    ) -> Result<Self, (Stage, Failure)> {
        let connected = route.connect().await.map_err(|error| {
            let stage = match error.source {
                ConnectFailure::Resolve { .. } => Stage::Resolve,
                _ => Stage::Connect,
            };
            (stage, failure::of_examined(&error))
        })?;
        let banners = connected.banners;
        let options = LinkOptions {
            identity: credentials.identity.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: cluster.to_string(),
            boot_id: credentials.boot_id,
            encrypt: Encrypt::Auto,
            locality: connected.locality,
            limits: Limits::default(),
        };
        let (link, incoming, driver) = link::connect(connected.stream, credentials.guest, &options)
            .await
            .map_err(|error| {
                let stage = match error.step() {
                    Step::Preface => Stage::Preface,
                    Step::Tls => Stage::Tls,
                    Step::Hello | Step::Established => Stage::Hello,
                };
                (stage, failure::of_connect(&error, cluster, ours))
            })?;
        // A guest's requests are the daemon's to answer.
        drop(incoming);
        let driving = tokio::spawn(driver.run());
        Ok(Self {
            link,
            banners,
            driving,
        })
    }

    /// The link.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What SSH servers on the way say to everybody.
    pub(super) fn banners(&self) -> &[String] {
        &self.banners
    }

    /// Asks, and waits for the answer no longer than `patience`; `what` is said of a failure.
    ///
    /// # Errors
    /// `None` when the link went down or nothing came: nobody knows what was done.
    pub async fn ask<R: Request>(
        &self,
        request: &R,
        patience: Duration,
        what: &str,
    ) -> Result<R::Answer, Option<Failure>> {
        match timeout(patience, self.link.request(request)).await {
            Ok(Ok((answer, _stream))) => Ok(answer),
            Ok(Err(error)) => Err(failure::of_request(&error, what, Kind::Other)),
            Err(_) => Err(None),
        }
    }

    /// Takes leave. A guest that does not was there all the same.
    pub async fn end(self) {
        self.link.close();
        let _ = timeout(GOODBYE, self.driving).await;
    }
}
