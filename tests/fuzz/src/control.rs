//! Lines between the command line and the daemon: what is read can be written and is read again the
//! same, what cannot be read is refused in one harmless line, and what is shown is harmless.

use lkc_host::{
    control::{Call, ClusterStatus, Done, MAX_LINE, Reply, Request},
    error::CommandError,
    output::{
        ChangedRows, Closing, Paint, check_table, closing, cluster_table, cluster_view,
        forward_table, snapshot_table,
    },
};

use super::text::assert_harmless;

/// What the daemon may read: a line without its end.
pub fn check_call(input: &[u8]) {
    match Call::from_line(input) {
        Ok(call) => {
            let line = serde_json::to_vec(&call).expect("a call is a line");
            let again = Call::from_line(&line).expect("what we wrote");
            let again = serde_json::to_vec(&again).expect("a call is a line");
            assert!(line == again, "{}", String::from_utf8_lossy(&line));
            if let Request::Wait { goals, .. } = call.request {
                for goal in goals {
                    assert_eq!(goal.to_string().parse().as_ref(), Ok(&goal));
                }
            }
        }
        Err(failure) => {
            assert_harmless(&failure.message);
            assert!(failure.message.len() < 4000, "{}", failure.message.len());
            let reply = serde_json::to_vec(&Reply::Failed(failure)).expect("a reply is a line");
            assert!(reply.len() < MAX_LINE);
        }
    }
}

/// What the command line may read.
pub fn check_reply(input: &[u8]) {
    let reply = match Reply::from_line(input) {
        Ok(reply) => reply,
        Err(error) => return assert_harmless(&error.to_string()),
    };
    let line = serde_json::to_vec(&reply).expect("a reply is a line");
    let again = Reply::from_line(&line).expect("what we wrote");
    let again = serde_json::to_vec(&again).expect("a reply is a line");
    assert!(line == again, "{}", String::from_utf8_lossy(&line));
    match reply {
        Reply::Status { cluster } => check_shown(&cluster),
        Reply::Failed(failure) => {
            let error = CommandError::from(failure);
            assert!(error.kind.exit_code() > 0);
        }
        Reply::Checked(check) => assert_harmless(&check_table(&[check], Paint::PLAIN)),
        Reply::Snapshots { snapshots } => {
            assert_harmless(&snapshot_table(&snapshots, Paint::PLAIN));
        }
        Reply::Goal { .. }
        | Reply::Log { .. }
        | Reply::Note { .. }
        | Reply::Joined
        | Reply::LockedKeys { .. }
        | Reply::Daemon(_)
        | Reply::Done(_) => {}
    }
}

fn check_shown(status: &ClusterStatus) {
    let done = Done::default();
    assert_harmless(&cluster_table(std::slice::from_ref(status), Paint::PLAIN));
    for width in [40, 80, 300] {
        assert_harmless(&cluster_view(status, Paint::PLAIN, width));
    }
    assert_harmless(&forward_table(&status.forwards, Paint::PLAIN));
    assert_harmless(&closing(status, &done, Closing::Reached, Paint::PLAIN));
    assert_harmless(&closing(status, &done, Closing::NotAwaited, Paint::PLAIN));
    let mut rows = ChangedRows::default();
    for line in rows.watch_lines(status, Paint::PLAIN) {
        assert_harmless(&line);
    }
}
