//! The guest's clock, looked at when a link comes up and when this host has slept, before anything is
//! forwarded: a guest that slept with its host is behind, and certificates made meanwhile are not
//! valid there.

use std::{convert::Infallible, time::Duration};

use lkc_protocol::{
    link::{Link, RequestError},
    message::{SetTime, TimeSet},
    version,
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::node_info;
use crate::{control::ClockStatus, sanitize};

/// A clock that is off by no more than this is right.
const BOUND_MS: u32 = 2000;

/// Longest time that forwards wait for the clock.
const DEADLINE: Duration = Duration::from_secs(2);

/// Longest wait for an answer of a guest that is busy, with starting for one.
const ANSWER: Duration = Duration::from_secs(10);

/// Pause before a guest that did not say is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// How often it is asked before the next link or sleep.
const ATTEMPTS: u32 = 6;

/// How often it is told the time: what was told late leaves a clock behind, by less each time.
const ROUNDS: u32 = 3;

/// What is known of a guest's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestClock {
    /// It is being looked at, and nothing is forwarded.
    Unsettled,
    /// It is right or cannot be helped; what became of it, none when it was right or is not known.
    Settled(Option<ClockStatus>),
}

/// Where that is told.
pub(super) type ClockSlot = watch::Receiver<GuestClock>;

impl GuestClock {
    /// Whether forwards may begin.
    pub(super) const fn is_settled(&self) -> bool {
        matches!(self, Self::Settled(_))
    }
}

/// What became of the clock.
pub(super) fn status(slot: &ClockSlot) -> Option<ClockStatus> {
    match &*slot.borrow() {
        GuestClock::Unsettled => None,
        GuestClock::Settled(status) => status.clone(),
    }
}

/// Has the guest's clock set right now and each time that `resumed` returns.
pub(super) async fn keep_right<F>(
    link: &Link,
    told: &watch::Sender<GuestClock>,
    resumed: impl Fn() -> F,
) -> Infallible
where
    F: Future<Output = ()>,
{
    loop {
        told.send_replace(GuestClock::Unsettled);
        let mut looking = std::pin::pin!(look_until_known(link));
        let status = match timeout(DEADLINE, &mut looking).await {
            Ok(status) => status,
            Err(_) => {
                // Forwards do not wait for a guest that takes so long.
                told.send_replace(GuestClock::Settled(None));
                looking.await
            }
        };
        match &status {
            None => {}
            Some(ClockStatus {
                off_ms,
                why_not: None,
            }) => tracing::info!(off_ms, "the guest's clock was wrong, and is set"),
            Some(ClockStatus {
                off_ms,
                why_not: Some(why),
            }) => tracing::warn!(off_ms, "the guest's clock is wrong: {why}"),
        }
        told.send_replace(GuestClock::Settled(status));
        resumed().await;
    }
}

async fn look_until_known(link: &Link) -> Option<ClockStatus> {
    for _ in 0..ATTEMPTS {
        if let Ok(status) = look(link).await {
            return status;
        }
        sleep(AGAIN).await;
    }
    None
}

/// The guest did not say in time what its clock says.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

async fn look(link: &Link) -> Result<Option<ClockStatus>, Unknown> {
    let mut was_set = None;
    let mut last_off = 0;
    for _ in 0..ROUNDS {
        let node = node_info::ask_within(link, ANSWER).await.ok_or(Unknown)?;
        last_off = node.clock_skew_ms;
        match judge(last_off, link.peer().capability) {
            Step::Leave => return Ok(was_set),
            Step::Tell(status) => return Ok(Some(status)),
            Step::Set => {}
        }
        let wanted = SetTime {
            clock_unix_ms: node_info::now_ms(),
            bound_ms: BOUND_MS,
        };
        let answer = timeout(ANSWER, link.request(&wanted)).await;
        let answer = answer.map_err(|_| Unknown)?.map(|(set, _)| set);
        match conclude(last_off, answer)? {
            Some(status) if status.why_not.is_some() => return Ok(Some(status)),
            // It is looked at once more.
            status => was_set = was_set.or(status),
        }
    }
    Ok(Some(ClockStatus {
        off_ms: last_off,
        why_not: Some("it was told the time too late each time".to_owned()),
    }))
}

/// What to do about a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// It is right.
    Leave,
    /// The host's time is to be told.
    Set,
    /// It is wrong, and cannot be helped.
    Tell(ClockStatus),
}

fn judge(off_ms: i64, capability: u32) -> Step {
    if off_ms.unsigned_abs() <= u64::from(BOUND_MS) {
        return Step::Leave;
    }
    if capability < version::CONDITION {
        return Step::Tell(ClockStatus {
            off_ms,
            why_not: Some("its lkc-guest is too old to set it".to_owned()),
        });
    }
    Step::Set
}

/// What an answer means; none when the clock was right already, by itself.
fn conclude(
    off_ms: i64,
    answer: Result<TimeSet, RequestError>,
) -> Result<Option<ClockStatus>, Unknown> {
    let why_not = match answer {
        Ok(set) if set.changed => None,
        Ok(_) => return Ok(None),
        Err(RequestError::LinkDown) => return Err(Unknown),
        Err(RequestError::Refused(refusal)) => Some(sanitize::line(&refusal.text)),
        Err(error) => Some(error.to_string()),
    };
    Ok(Some(ClockStatus { off_ms, why_not }))
}

#[cfg(test)]
pub(super) mod tests;
