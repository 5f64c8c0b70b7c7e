//! This node's object.

use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::{is_expired, watch_config, watch_problem};
use crate::readiness::{NodeState, Observation};

/// Observes the node until the watch breaks, and says why it did.
pub(super) async fn follow(
    client: Client,
    name: &str,
    observations: &mpsc::Sender<Observation>,
) -> String {
    let config = watch_config().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(Api::<Node>::all(client), config));
    let mut listed = NodeState::Absent;
    while let Some(event) = events.next().await {
        let state = match event {
            Ok(Event::Init) => {
                listed = NodeState::Absent;
                continue;
            }
            Ok(Event::InitApply(node)) => {
                listed = state_of(&node);
                continue;
            }
            Ok(Event::InitDone) => listed.clone(),
            Ok(Event::Apply(node)) => state_of(&node),
            Ok(Event::Delete(_)) => NodeState::Absent,
            Err(error) if is_expired(&error) => continue,
            Err(error) => return watch_problem(&error),
        };
        let _ = observations.send(Observation::Node(state)).await;
    }
    "the watch of the node ended".to_owned()
}

fn state_of(node: &Node) -> NodeState {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    let ready = conditions
        .unwrap_or_default()
        .iter()
        .find(|condition| condition.type_ == "Ready");
    match ready {
        Some(condition) if condition.status == "True" => NodeState::Ready,
        Some(condition) => NodeState::NotReady {
            reason: condition.reason.clone().unwrap_or_default(),
            message: condition.message.clone().unwrap_or_default(),
        },
        None => NodeState::NotReady {
            reason: String::new(),
            message: String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(conditions: &serde_json::Value) -> Node {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "k3s-dev"},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn only_the_status_true_is_ready() {
        let condition = |kind: &str, status: &str| serde_json::json!([{"type": kind, "status": status, "reason": "KubeletNotReady", "message": "Ready soon"}]);
        assert_eq!(
            state_of(&node(&condition("Ready", "True"))),
            NodeState::Ready
        );
        for (kind, status) in [
            ("Ready", "False"),
            ("Ready", "Unknown"),
            ("Ready", "true"),
            ("Ready", ""),
        ] {
            assert_eq!(
                state_of(&node(&condition(kind, status))),
                NodeState::NotReady {
                    reason: "KubeletNotReady".to_owned(),
                    message: "Ready soon".to_owned()
                }
            );
        }
        let none = NodeState::NotReady {
            reason: String::new(),
            message: String::new(),
        };
        assert_eq!(state_of(&node(&condition("NotReady", "True"))), none);
        assert_eq!(state_of(&Node::default()), none);
    }
}
