//! Logs that are followed from a place on: each message as small and as full as it gets.

use lkc_protocol::message::{FollowLog, FollowingLog, LogEntry, LogSource};

use super::Take;

/// As the journal writes it.
const PLACE: &str = "s=4f6d1a;i=1c2;b=9a0e5b;m=5f1a2b;t=63c0ffee;x=ab12";

pub(super) fn each(to: &mut impl Take) {
    to.take(
        "follow-log-from-now",
        "FollowLog: the agent's, none of the past",
        FollowLog {
            source: LogSource::Agent,
            tail: 0,
            after: None,
        },
    );
    to.take(
        "follow-log-after",
        "FollowLog: that of k3s, behind an entry",
        FollowLog {
            source: LogSource::K3s,
            tail: u32::MAX,
            after: Some(PLACE.to_owned()),
        },
    );
    to.take(
        "following-log-anew",
        "FollowingLog: from a place that nobody knows",
        FollowingLog {
            after: None,
            complete: false,
        },
    );
    to.take(
        "following-log-after",
        "FollowingLog: behind an entry that is there",
        FollowingLog {
            after: Some(PLACE.to_owned()),
            complete: true,
        },
    );
    to.take(
        "log-entry-empty",
        "LogEntry: of a log without places, an empty line",
        LogEntry {
            place: String::new(),
            text: String::new(),
        },
    );
    to.take(
        "log-entry-two-lines",
        "LogEntry: two lines and their place",
        LogEntry {
            place: PLACE.to_owned(),
            text: "one\ntwo".to_owned(),
        },
    );
}
