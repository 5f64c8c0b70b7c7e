//! Deployments and daemon sets of kube-system.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;

use futures::{Stream, StreamExt as _, future, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{is_expired, watch_config, watch_problem};
use crate::readiness::{Observation, SystemState};

const NAMESPACE: &str = "kube-system";

/// Observes the workloads until a watch breaks, and says why it did.
pub(super) async fn follow(client: Client, observations: &mpsc::Sender<Observation>) -> String {
    let deployments = changes::<Deployment>(client.clone(), Kind::Deployment, deployment_available);
    let daemon_sets = changes::<DaemonSet>(client, Kind::DaemonSet, daemon_set_available);
    let mut changes = pin!(stream::select(deployments, daemon_sets));
    let mut workloads = Workloads::default();
    while let Some(change) = changes.next().await {
        match change {
            Ok((kind, change)) => workloads.handle(kind, change),
            Err(error) => return watch_problem(&error),
        }
        if let Some(state) = workloads.state() {
            let _ = observations.send(Observation::System(state)).await;
        }
    }
    "the watches of kube-system ended".to_owned()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deployment,
    DaemonSet,
}

/// What happened to one kind.
enum Change {
    Listing,
    Seen { name: String, available: bool },
    Gone { name: String },
    Listed,
}

/// Availability by kind and name, and whether the kinds are listed.
#[derive(Default)]
struct Workloads {
    available: BTreeMap<(Kind, String), bool>,
    listed: [bool; 2],
}

impl Workloads {
    fn handle(&mut self, kind: Kind, change: Change) {
        match change {
            Change::Listing => {
                self.listed[kind as usize] = false;
                self.available.retain(|(of, _), _| *of != kind);
            }
            Change::Seen { name, available } => _ = self.available.insert((kind, name), available),
            Change::Gone { name } => _ = self.available.remove(&(kind, name)),
            Change::Listed => self.listed[kind as usize] = true,
        }
    }

    /// None until both kinds are listed: half a list must not look complete.
    fn state(&self) -> Option<SystemState> {
        let waiting = self.available.iter().filter(|(_, available)| !**available);
        self.listed
            .iter()
            .all(|listed| *listed)
            .then(|| SystemState {
                available: self
                    .available
                    .values()
                    .filter(|available| **available)
                    .count(),
                total: self.available.len(),
                waiting: waiting.map(|((_, name), _)| name.clone()).collect(),
            })
    }
}

fn changes<K>(
    client: Client,
    kind: Kind,
    is_available: fn(&K) -> bool,
) -> impl Stream<Item = Result<(Kind, Change), watcher::Error>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    watcher(Api::<K>::namespaced(client, NAMESPACE), watch_config()).filter_map(move |event| {
        let seen = |object: &K| Change::Seen {
            name: object.name_any(),
            available: is_available(object),
        };
        future::ready(match event {
            Ok(Event::Init) => Some(Ok((kind, Change::Listing))),
            Ok(Event::InitApply(object) | Event::Apply(object)) => Some(Ok((kind, seen(&object)))),
            Ok(Event::InitDone) => Some(Ok((kind, Change::Listed))),
            Ok(Event::Delete(object)) => Some(Ok((
                kind,
                Change::Gone {
                    name: object.name_any(),
                },
            ))),
            Err(error) if is_expired(&error) => None,
            Err(error) => Some(Err(error)),
        })
    })
}

fn deployment_available(deployment: &Deployment) -> bool {
    let observed = deployment
        .status
        .as_ref()
        .and_then(|status| status.observed_generation);
    let conditions = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    observed.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
        && conditions
            .unwrap_or_default()
            .iter()
            .any(|condition| condition.type_ == "Available" && condition.status == "True")
}

fn daemon_set_available(daemon_set: &DaemonSet) -> bool {
    daemon_set.status.as_ref().is_some_and(|status| {
        status.observed_generation.unwrap_or(0) >= daemon_set.metadata.generation.unwrap_or(0)
            && status.number_available.unwrap_or(0) >= status.desired_number_scheduled
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(generation: i64, observed: i64, available: &str) -> Deployment {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "coredns", "generation": generation},
            "status": {"observedGeneration": observed, "conditions": [
                {"type": "Progressing", "status": "True"},
                {"type": "Available", "status": available},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn deployments() {
        assert!(deployment_available(&deployment(1, 1, "True")));
        assert!(!deployment_available(&deployment(1, 1, "False")));
        assert!(!deployment_available(&deployment(2, 1, "True")));
        assert!(!deployment_available(&Deployment::default()));
    }

    #[test]
    fn daemon_sets() {
        let daemon_set = |desired: i32, available: i32| -> DaemonSet {
            serde_json::from_value(serde_json::json!({
                "metadata": {"generation": 1},
                "status": {"observedGeneration": 1, "desiredNumberScheduled": desired, "currentNumberScheduled": desired,
                    "numberMisscheduled": 0, "numberReady": available, "numberAvailable": available},
            }))
            .unwrap()
        };
        assert!(daemon_set_available(&daemon_set(1, 1)));
        assert!(daemon_set_available(&daemon_set(0, 0)));
        assert!(!daemon_set_available(&daemon_set(1, 0)));
        assert!(!daemon_set_available(&DaemonSet::default()));
    }

    #[test]
    fn half_a_list_is_no_state() {
        let mut workloads = Workloads::default();
        workloads.handle(Kind::Deployment, Change::Listing);
        workloads.handle(
            Kind::Deployment,
            Change::Seen {
                name: "coredns".to_owned(),
                available: true,
            },
        );
        workloads.handle(Kind::Deployment, Change::Listed);
        assert_eq!(workloads.state(), None);
        workloads.handle(Kind::DaemonSet, Change::Listed);
        assert_eq!(
            workloads.state(),
            Some(SystemState {
                available: 1,
                total: 1,
                waiting: Vec::new()
            })
        );
        workloads.handle(
            Kind::DaemonSet,
            Change::Seen {
                name: "svclb".to_owned(),
                available: false,
            },
        );
        let waiting = vec!["svclb".to_owned()];
        assert_eq!(
            workloads.state(),
            Some(SystemState {
                available: 1,
                total: 2,
                waiting
            })
        );
        workloads.handle(
            Kind::DaemonSet,
            Change::Gone {
                name: "svclb".to_owned(),
            },
        );
        workloads.handle(Kind::Deployment, Change::Listing);
        assert_eq!(workloads.state(), None);
        workloads.handle(Kind::Deployment, Change::Listed);
        assert_eq!(
            workloads.state(),
            Some(SystemState {
                available: 0,
                total: 0,
                waiting: Vec::new()
            })
        );
    }
}
