//! This node's object.

use std::pin::pin;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::{is_expired, vouched::Vouched, watch_config, watch_problem};
use crate::readiness::{NodeState, Observation};

/// Observes the node until the watch breaks, and says why it did. What it says counts as far as
/// `vouched` believes it.
pub(super) async fn follow(
    client: Client,
    name: &str,
    vouched: &mut Vouched,
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
                listed = vouched.judge(&node);
                continue;
            }
            Ok(Event::InitDone) => listed.clone(),
            Ok(Event::Apply(node)) => vouched.judge(&node),
            Ok(Event::Delete(_)) => NodeState::Absent,
            Err(error) if is_expired(&error) => continue,
            Err(error) => return watch_problem(&error),
        };
        let _ = observations.send(Observation::Node(state)).await;
    }
    "the watch of the node ended".to_owned()
}
