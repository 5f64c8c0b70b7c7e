//! Whether this run of k3s vouches for what the node's object says.
//!
//! A node's object outlives k3s: after a restart or a reboot it says `Ready` from before, until the
//! new kubelet speaks for the first time. Whoever believes it is told that a node is ready which
//! nobody has looked at yet.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{Node, NodeCondition};

use crate::readiness::NodeState;

/// When a condition was last spoken of, and when it last changed.
type Word = (Option<i64>, Option<i64>);

/// Judges what is seen of a node during one run of k3s.
#[derive(Debug)]
pub(super) struct Vouched {
    /// When the run began, in whole seconds since 1970; none when unknown, and then all is believed.
    since: Option<i64>,
    /// What the condition said when it was first seen.
    first: Option<Word>,
    believed: bool,
}

impl Vouched {
    pub(super) fn new(started: Option<SystemTime>) -> Self {
        let since = started
            .and_then(|started| started.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_secs()).ok());
        Self {
            since,
            first: None,
            believed: since.is_none(),
        }
    }

    pub(super) fn judge(&mut self, node: &Node) -> NodeState {
        let Some(condition) = ready_condition(node) else {
            return not_ready("", "");
        };
        let word = word(condition);
        let first = *self.first.get_or_insert(word);
        self.believed |= word != first || self.is_of_this_run(word);
        if condition.status != "True" {
            let reason = condition.reason.as_deref().unwrap_or_default();
            return not_ready(reason, condition.message.as_deref().unwrap_or_default());
        }
        if self.believed {
            return NodeState::Ready;
        }
        not_ready(
            "Stale",
            "the node says Ready from before k3s started; its kubelet has not spoken yet",
        )
    }

    /// The API has whole seconds. What was said in the very second of the start may be of the run
    /// before, unless the condition changed in it too: no run is that short.
    fn is_of_this_run(&self, (heartbeat, transition): Word) -> bool {
        heartbeat > self.since || (heartbeat == self.since && transition == self.since)
    }
}

fn not_ready(reason: &str, message: &str) -> NodeState {
    NodeState::NotReady {
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
}

fn word(condition: &NodeCondition) -> Word {
    let seconds = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0.as_second();
    let transition = condition.last_transition_time.as_ref().map(seconds);
    let heartbeat = condition.last_heartbeat_time.as_ref().map(seconds);
    (heartbeat.or(transition), transition)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node(conditions: &serde_json::Value) -> Node {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "k3s-dev"},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn ready(status: &str, heartbeat: &str, transition: &str) -> Node {
        node(&serde_json::json!([{
            "type": "Ready", "status": status, "reason": "KubeletReady", "message": "Ready soon",
            "lastHeartbeatTime": heartbeat, "lastTransitionTime": transition,
        }]))
    }

    /// 2026-11-21T10:00:05.5Z.
    fn started() -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_millis(1_795_255_205_500))
    }

    #[test]
    fn only_the_status_true_is_ready() {
        let condition = |kind: &str, status: &str| serde_json::json!([{"type": kind, "status": status, "reason": "KubeletNotReady", "message": "Ready soon"}]);
        let judge = |node: &Node| Vouched::new(None).judge(node);
        assert_eq!(judge(&node(&condition("Ready", "True"))), NodeState::Ready);
        for status in ["False", "Unknown", "true", ""] {
            let expected = not_ready("KubeletNotReady", "Ready soon");
            assert_eq!(
                judge(&node(&condition("Ready", status))),
                expected,
                "{status}"
            );
        }
        assert_eq!(
            judge(&node(&condition("NotReady", "True"))),
            not_ready("", "")
        );
        assert_eq!(judge(&Node::default()), not_ready("", ""));
    }

    #[test]
    fn a_ready_from_before_the_start_is_not_believed_until_the_kubelet_speaks() {
        let mut vouched = Vouched::new(started());
        let stale = ready("True", "2026-11-21T09:00:00Z", "2026-11-21T08:00:00Z");
        assert!(
            matches!(vouched.judge(&stale), NodeState::NotReady { reason, .. } if reason == "Stale")
        );
        assert!(matches!(vouched.judge(&stale), NodeState::NotReady { .. }));
        let fresh = ready("True", "2026-11-21T10:00:09Z", "2026-11-21T08:00:00Z");
        assert_eq!(vouched.judge(&fresh), NodeState::Ready);
        assert_eq!(Vouched::new(started()).judge(&fresh), NodeState::Ready);
    }

    #[test]
    fn within_the_second_of_the_start_a_change_decides() {
        let same_second = ready("True", "2026-11-21T10:00:05Z", "2026-11-21T10:00:00Z");
        let mut vouched = Vouched::new(started());
        assert!(matches!(
            vouched.judge(&same_second),
            NodeState::NotReady { .. }
        ));
        let changed = ready("True", "2026-11-21T10:00:05Z", "2026-11-21T10:00:05Z");
        assert_eq!(vouched.judge(&changed), NodeState::Ready);
        let mut seen_starting = Vouched::new(started());
        let starting = ready("False", "2026-11-21T10:00:04Z", "2026-11-21T10:00:04Z");
        assert!(
            matches!(seen_starting.judge(&starting), NodeState::NotReady { reason, .. } if reason == "KubeletReady")
        );
        assert_eq!(seen_starting.judge(&same_second), NodeState::Ready);
    }

    #[test]
    fn a_clock_that_was_set_back_still_lets_the_kubelet_speak() {
        let mut vouched = Vouched::new(started());
        assert!(matches!(
            vouched.judge(&ready(
                "True",
                "2026-11-21T02:00:00Z",
                "2026-11-21T02:00:00Z"
            )),
            NodeState::NotReady { .. }
        ));
        assert_eq!(
            vouched.judge(&ready(
                "True",
                "2026-11-21T02:00:10Z",
                "2026-11-21T02:00:00Z"
            )),
            NodeState::Ready
        );
    }
}
