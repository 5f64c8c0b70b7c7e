//! What is asked of the guest on a link: its k3s, its ladder.

use std::{sync::Arc, time::Duration};

use lkc_protocol::{
    link::{Link, RequestError, StreamError},
    message::{Body, Change, Request, Snapshot, Watch},
};
use tokio::time::timeout;

use super::{
    guest_link::{ActiveLink, LinkSlot, failure},
    reporter::Reporter,
    state::Report,
};
use crate::{config::ClusterSpec, control::Failure, error::Kind};

/// How long the guest may take to configure k3s and begin its start. It does not wait until k3s
/// is ready: the ladder tells that.
const K3S_DEADLINE: Duration = Duration::from_secs(60);

/// How long the guest may take to answer that it begins to tell.
pub(super) const BEGIN_DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn configure_k3s(
    links: LinkSlot,
    link: u64,
    spec: Arc<ClusterSpec>,
    reporter: Reporter,
) {
    let Some(current) = current(&links, link) else {
        return;
    };
    match ask(&current, &spec.to_k3s(), K3S_DEADLINE, "k3s", Kind::K3s).await {
        Ok(_) => reporter.send(Report::K3sConfigured { link }).await,
        Err(Some(failure)) => reporter.send(Report::K3sFailed { link, failure }).await,
        Err(None) => {}
    }
}

/// Follows the ladder to the end of the link. A guest that stops telling it is cut off: the next
/// link begins with a whole ladder again.
pub(super) async fn watch(links: LinkSlot, link: u64, reporter: Reporter) {
    let Some(current) = current(&links, link) else {
        return;
    };
    if let Err(error) = follow_ladder(&current, link, &reporter).await
        && !current.is_closed()
    {
        tracing::warn!(cluster = %reporter.cluster, link, "the ladder is not told any more: {error}");
        current.close();
    }
}

async fn follow_ladder(current: &Link, link: u64, reporter: &Reporter) -> Result<(), LadderEnd> {
    let (_, mut stream) = timeout(BEGIN_DEADLINE, current.request(&Watch {}))
        .await
        .map_err(|_| LadderEnd::Silent)??;
    loop {
        let message = stream.receive_raw().await?.ok_or(LadderEnd::Finished)?;
        let report = if message.number == Snapshot::NUMBER {
            let snapshot = message.decode().map_err(StreamError::from)?;
            Report::Snapshot { link, snapshot }
        } else {
            let change: Change = message.decode().map_err(StreamError::from)?;
            Report::Change { link, change }
        };
        reporter.send(report).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum LadderEnd {
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the guest finished it")]
    Finished,
    #[error("no answer within {} s", BEGIN_DEADLINE.as_secs())]
    Silent,
}

/// The link with this number, while it is the current one.
pub(super) fn current(links: &LinkSlot, number: u64) -> Option<Link> {
    active(links, number).map(|active| active.link)
}

/// The same with all that is known of it.
pub(super) fn active(links: &LinkSlot, number: u64) -> Option<ActiveLink> {
    let slot = links.borrow();
    slot.as_ref()
        .filter(|active| active.number == number)
        .cloned()
}

/// Asks something that is answered once and has no stream. No failure when only the link is down.
pub(super) async fn ask<R: Request>(
    link: &Link,
    request: &R,
    deadline: Duration,
    what: &str,
    refused: Kind,
) -> Result<R::Answer, Option<Failure>> {
    match timeout(deadline, link.request(request)).await {
        Ok(Ok((answer, _))) => Ok(answer),
        Ok(Err(error)) => Err(failure::of_request(&error, what, refused)),
        Err(_) => Err(Some(Failure {
            kind: Kind::Timeout,
            message: format!("{what}: no answer within {} s", deadline.as_secs()),
            hints: vec!["`lkc-host logs --source agent` shows what the agent is doing".to_owned()],
            tail: Vec::new(),
        })),
    }
}
