//! What a node is and how its clock stands, asked for when somebody wants to see it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lkc_protocol::{
    link::Link,
    message::{Info, Usage},
    version,
};
use tokio::time::timeout;

use crate::control::{NodeStatus, UsageStatus};

/// Longest time that a status waits for the node.
const DEADLINE: Duration = Duration::from_secs(1);

/// Asks the node; none when it does not answer at once.
pub(super) async fn ask(link: &Link) -> Option<NodeStatus> {
    ask_within(link, DEADLINE).await
}

/// The same with another patience.
pub(super) async fn ask_within(link: &Link, deadline: Duration) -> Option<NodeStatus> {
    let asked = now_ms();
    let (info, _) = timeout(deadline, link.request(&Info {})).await.ok()?.ok()?;
    let answered = now_ms();
    Some(NodeStatus {
        hostname: info.hostname,
        os: info.os,
        kernel: info.kernel,
        uptime_ms: info.uptime_ms,
        clock_skew_ms: skew_ms(asked, info.clock_unix_ms, answered),
        clock: None,
        usage: None,
    })
}

/// Asks what of the node is in use; none when its agent does not know the question.
pub(super) async fn usage(link: &Link) -> Option<UsageStatus> {
    if link.peer().capability < version::CONDITION {
        return None;
    }
    let (usage, _) = timeout(DEADLINE, link.request(&Usage {}))
        .await
        .ok()?
        .ok()?;
    Some(usage.into())
}

/// This host's clock, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// How far a clock that was read between two moments is ahead of ours, negative if it is behind; 0
/// where the way there and back may explain it.
fn skew_ms(asked: u64, theirs: u64, answered: u64) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if theirs < asked {
        -signed(asked - theirs)
    } else {
        signed(theirs.saturating_sub(answered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_within_the_round_trip_is_right() {
        for (asked, theirs, answered, skew) in [
            (1000, 1000, 1000, 0),
            (1000, 1010, 1020, 0),
            (1000, 990, 1020, -10),
            (1000, 1050, 1020, 30),
            // Our own was set back meanwhile.
            (1000, 1000, 900, 100),
            (1_795_255_822_123, 0, 1_795_255_822_124, -1_795_255_822_123),
            (0, u64::MAX, 0, i64::MAX),
        ] {
            assert_eq!(skew_ms(asked, theirs, answered), skew, "{theirs}");
        }
    }
}
