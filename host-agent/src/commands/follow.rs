//! The way to a goal, shown while it is gone.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{context::Context, conversation::Conversation};
use crate::{
    config::ClusterName,
    control::{Done, Goal, Reply, Request},
    error::{CommandError, Kind},
    output::Progress,
};

/// The daemon keeps the time; this is how much later we give it up.
const GRACE: Duration = Duration::from_secs(10);

/// Sends `request` and shows what happens until the last reply. The progress is left to the caller,
/// who knows what to say at the end.
pub(super) async fn follow<'a>(
    context: &'a Context<'a>,
    mut conversation: Conversation,
    goals: Vec<Goal>,
    timeout: Duration,
) -> Result<(Progress<'a>, Done), CommandError> {
    let mut progress = Progress::new(context.output, goals, Instant::now());
    let mut ticks = interval(Progress::TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let deadline = sleep(timeout.saturating_add(GRACE));
    tokio::pin!(deadline);
    loop {
        let reply = {
            let next = conversation.next();
            tokio::pin!(next);
            loop {
                tokio::select! {
                    reply = &mut next => break reply?,
                    _ = ticks.tick() => progress.tick(Instant::now()),
                    () = &mut deadline => return Err(silent_daemon(timeout)),
                }
            }
        };
        if let Reply::Done(done) = reply {
            progress.done(&done)?;
            return Ok((progress, done));
        }
        progress.handle(&reply, Instant::now())?;
    }
}

/// Sends `request` and waits for its end, with nothing to show on the way.
pub(super) async fn finish(
    context: &Context<'_>,
    request: Request,
    timeout: Duration,
) -> Result<Done, CommandError> {
    let mut conversation = Conversation::start(context, request).await?;
    let end = async {
        loop {
            if let Reply::Done(done) = conversation.next().await? {
                return Ok(done);
            }
        }
    };
    tokio::time::timeout(timeout, end)
        .await
        .unwrap_or_else(|_| Err(silent_daemon(timeout)))
}

/// What to wait for when nothing is said: the node, or the API of a cluster without pod network.
pub(super) async fn default_goal(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<Goal, CommandError> {
    use lkc_protocol::message::{Cni, Rung};
    let status = super::status::one(context, cluster).await?;
    let rung = if status.cni == Cni::None {
        Rung::Api
    } else {
        Rung::Node
    };
    Ok(Goal::Rung(rung))
}

pub(super) fn silent_daemon(timeout: Duration) -> CommandError {
    CommandError::new(
        Kind::Timeout,
        format!("the daemon did not finish within {timeout:?}"),
    )
    .hint("see `lkc-host status` for where it stands, and `lkc-host daemon log` for what it does")
}
