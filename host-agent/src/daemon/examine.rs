//! Tries each carrier of a cluster on its own and tells how far it gets.

use std::{
    fmt,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde::Serialize;
use tokio::time::timeout;

use super::{guest_link::Credentials, node_info, provision, visit::Visit};
use crate::{carrier::Route, config::ClusterName, control::Failure, error::Kind, paths::Paths};

/// Longest time for one carrier: each step of the handshake has a shorter one.
const DEADLINE: Duration = Duration::from_secs(12);

/// What stands between this host and a link, in the order in which it is overcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// A name becomes an address.
    Resolve,
    /// Bytes can pass.
    Connect,
    /// The other end is an agent.
    Preface,
    /// Both keys are the right ones.
    Tls,
    /// The versions work together.
    Hello,
}

impl Stage {
    /// The word that people read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Preface => "preface",
            Self::Tls => "TLS",
            Self::Hello => "hello",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What became of one carrier.
#[derive(Debug, Clone, Serialize)]
pub struct CarrierCheck {
    /// Which, hops in front.
    pub carrier: String,
    /// The first stage that was not overcome; none when a link stood.
    pub failed: Option<Stage>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// Build version of the agent, when a link stood.
    pub agent_version: Option<String>,
    /// Whether the link stays encrypted, when one stood.
    pub encrypted: Option<bool>,
    /// What SSH servers on the way say to everybody before they log somebody in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub banners: Vec<String>,
    /// Milliseconds that the guest's clock is ahead of this host's, when a link stood.
    pub clock_skew_ms: Option<i64>,
    /// Why not, and what to do.
    pub failure: Option<Failure>,
}

/// Tries the carriers, all at once; `ours` says whether lkc made the machine. Each link is closed as
/// soon as it stands.
///
/// # Errors
/// The cluster's keys cannot be read.
pub async fn examine(
    paths: &Paths,
    cluster: &ClusterName,
    routes: &[Route],
    ours: bool,
) -> Result<Vec<CarrierCheck>, Failure> {
    let credentials =
        provision::credentials(paths, cluster, [0; 16]).map_err(|error| error.to_failure())?;
    let checks = routes
        .iter()
        .map(|route| check(route, cluster, &credentials, ours));
    Ok(join_all(checks).await)
}

async fn check(
    route: &Route,
    cluster: &ClusterName,
    credentials: &Credentials,
    ours: bool,
) -> CarrierCheck {
    let begin = Instant::now();
    let attempt = timeout(DEADLINE, connect(route, cluster, credentials, ours)).await;
    let result = attempt.unwrap_or_else(|_| {
        Err((
            Stage::Connect,
            Failure {
                kind: Kind::Unreachable,
                message: format!("not connected within {} s", DEADLINE.as_secs()),
                hints: Vec::new(),
                tail: Vec::new(),
            },
        ))
    });
    let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let check = CarrierCheck {
        carrier: route.to_string(),
        failed: None,
        ms,
        agent_version: None,
        encrypted: None,
        banners: Vec::new(),
        clock_skew_ms: None,
        failure: None,
    };
    match result {
        Ok(found) => CarrierCheck {
            agent_version: Some(found.agent_version),
            encrypted: Some(found.is_encrypted),
            banners: found.banners,
            clock_skew_ms: found.clock_skew_ms,
            ..check
        },
        Err((stage, failure)) => CarrierCheck {
            failed: Some(stage),
            failure: Some(failure),
            ..check
        },
    }
}

/// What a link tells.
struct Found {
    agent_version: String,
    is_encrypted: bool,
    banners: Vec<String>,
    clock_skew_ms: Option<i64>,
}

async fn connect(
    route: &Route,
    cluster: &ClusterName,
    credentials: &Credentials,
    ours: bool,
) -> Result<Found, (Stage, Failure)> {
    let visit = Visit::over(route, cluster, credentials, ours).await?;
    let found = Found {
        agent_version: visit.link().peer().version.clone(),
        is_encrypted: visit.link().is_encrypted(),
        banners: visit.banners().to_vec(),
        clock_skew_ms: node_info::ask(visit.link())
            .await
            .map(|node| node.clock_skew_ms),
    };
    visit.end().await;
    Ok(found)
}
