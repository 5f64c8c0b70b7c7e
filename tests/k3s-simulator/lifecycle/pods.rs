//! Scheduler and kubelet: a pod gets a node, and a short while later runs, as far as one can see.

use serde_json::{Value, json};

use super::events::{self, Event};
use super::{Lifecycle, Wake, snapshot};
use crate::api::World;
use crate::clock::Moment;
use crate::object;
use crate::store::Key;

impl Lifecycle {
    pub(super) fn step_pods(&mut self, world: &mut World, now: Moment, wake: &mut Wake) {
        let pods = snapshot(world, "pods");
        self.scheduled_at
            .retain(|uid, _| pods.iter().any(|pod| object::uid(pod) == uid));
        for pod in &pods {
            if object::is_terminating(pod)
                || matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
            {
                continue;
            }
            let can_run = self.is_node_ready()
                || (self.registered_at.is_some() && !self.has_failed && tolerates_not_ready(pod));
            if object::text(pod, "/status/phase") == "Running" {
                set_readiness(world, pod, can_run, now);
            } else if can_run {
                self.start(world, pod, now, wake);
            } else if object::text(pod, "/spec/nodeName").is_empty() {
                leave_pending(world, pod, now);
            }
        }
    }

    fn start(&mut self, world: &mut World, pod: &Value, now: Moment, wake: &mut Wake) {
        let uid = object::uid(pod).to_owned();
        let scheduled_at = match self.scheduled_at.get(&uid) {
            Some(&at) => at,
            None => {
                self.scheduled_at.insert(uid.clone(), now.uptime);
                self.schedule(world, pod, now);
                now.uptime
            }
        };
        if wake.is_due(scheduled_at + self.script.system_delay, now) {
            self.scheduled_at.remove(&uid);
            self.run(world, pod, now);
        }
    }

    fn schedule(&self, world: &mut World, pod: &Value, now: Moment) {
        let mut pod = pod.clone();
        object::set(&mut pod, &["spec", "nodeName"], json!(self.facts.name));
        object::set_condition(&mut pod, "PodScheduled", "True", "", "", &now.timestamp());
        let waiting = container_statuses(
            &pod,
            false,
            &json!({"waiting": {"reason": "ContainerCreating"}}),
        );
        object::set(&mut pod, &["status", "containerStatuses"], waiting);
        let pod = world.store.put(key(&pod), pod);
        let message = format!(
            "Successfully assigned {}/{} to {}",
            object::namespace(&pod),
            object::name(&pod),
            self.facts.name
        );
        events::record(
            world,
            &pod,
            &Event {
                kind: "Normal",
                reason: "Scheduled",
                message: &message,
                component: "default-scheduler",
            },
            now,
        );
    }

    fn run(&self, world: &mut World, pod: &Value, now: Moment) {
        let Some(mut pod) = world.store.object(&key(pod)).map(|pod| (**pod).clone()) else {
            return;
        };
        let at = now.timestamp();
        let is_job = object::items(&pod, "/metadata/ownerReferences")
            .iter()
            .any(|owner| object::text(owner, "/kind") == "Job");
        let (phase, state) = if is_job {
            (
                "Succeeded",
                json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at}}),
            )
        } else {
            ("Running", json!({"running": {"startedAt": at}}))
        };
        let host = self
            .facts
            .addresses
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let is_on_host = pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
        let address = if is_on_host {
            host.clone()
        } else {
            self.pod_address(world)
        };
        object::set(&mut pod, &["status", "phase"], json!(phase));
        object::set(&mut pod, &["status", "hostIP"], json!(host));
        object::set(&mut pod, &["status", "podIP"], json!(address));
        object::set(&mut pod, &["status", "podIPs"], json!([{"ip": address}]));
        object::set(&mut pod, &["status", "startTime"], json!(at));
        let statuses = container_statuses(&pod, !is_job, &state);
        object::set(&mut pod, &["status", "containerStatuses"], statuses);
        object::set_condition(&mut pod, "Initialized", "True", "", "", &at);
        let (ready, reason) = if is_job {
            ("False", "PodCompleted")
        } else {
            ("True", "")
        };
        for condition in ["Ready", "ContainersReady"] {
            object::set_condition(&mut pod, condition, ready, reason, "", &at);
        }
        let pod = world.store.put(key(&pod), pod);
        for container in object::items(&pod, "/spec/containers") {
            let message = format!(
                "Started container {} (simulated: nothing runs)",
                object::text(container, "/name")
            );
            events::record(
                world,
                &pod,
                &Event {
                    kind: "Normal",
                    reason: "Started",
                    message: &message,
                    component: "kubelet",
                },
                now,
            );
        }
    }

    /// The first address of the node's pod range that no pod has.
    fn pod_address(&self, world: &World) -> String {
        let prefix = self
            .facts
            .pod_cidr
            .rsplit_once('.')
            .map_or("10.42.0", |(prefix, _)| prefix);
        let taken = |address: &str| {
            world
                .store
                .list("pods", None)
                .any(|(_, pod)| object::text(pod, "/status/podIP") == address)
        };
        let mut candidates = (2..255).map(|last| format!("{prefix}.{last}"));
        candidates
            .find(|address| !taken(address))
            .unwrap_or_else(|| format!("{prefix}.255"))
    }
}

fn set_readiness(world: &mut World, pod: &Value, is_ready: bool, now: Moment) {
    if object::condition_is_true(pod, "Ready") == is_ready {
        return;
    }
    let mut pod = pod.clone();
    let (status, reason) = if is_ready {
        ("True", "")
    } else {
        ("False", "NodeNotReady")
    };
    object::set_condition(&mut pod, "Ready", status, reason, "", &now.timestamp());
    world.store.put(key(&pod), pod);
}

fn leave_pending(world: &mut World, pod: &Value, now: Moment) {
    let message = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.";
    if object::condition(pod, "PodScheduled")
        .is_some_and(|condition| object::text(condition, "/message") == message)
    {
        return;
    }
    let mut pod = pod.clone();
    object::set_condition(
        &mut pod,
        "PodScheduled",
        "False",
        "Unschedulable",
        message,
        &now.timestamp(),
    );
    let pod = world.store.put(key(&pod), pod);
    events::record(
        world,
        &pod,
        &Event {
            kind: "Warning",
            reason: "FailedScheduling",
            message,
            component: "default-scheduler",
        },
        now,
    );
}

/// A CNI's own pods use the host's network and must run before there is a network.
fn tolerates_not_ready(pod: &Value) -> bool {
    let is_daemon = object::items(pod, "/metadata/ownerReferences")
        .iter()
        .any(|owner| object::text(owner, "/kind") == "DaemonSet");
    let tolerates = object::items(pod, "/spec/tolerations")
        .iter()
        .any(|toleration| {
            object::text(toleration, "/operator") == "Exists"
                && matches!(
                    object::text(toleration, "/key"),
                    "" | "node.kubernetes.io/not-ready"
                )
        });
    is_daemon || tolerates || pod.pointer("/spec/hostNetwork") == Some(&Value::Bool(true))
}

fn container_statuses(pod: &Value, is_ready: bool, state: &Value) -> Value {
    let statuses = object::items(pod, "/spec/containers")
        .iter()
        .map(|container| {
            json!({
                "name": object::text(container, "/name"),
                "image": object::text(container, "/image"),
                "imageID": "",
                "ready": is_ready,
                "started": is_ready,
                "restartCount": 0,
                "state": state,
                "lastState": {},
            })
        });
    Value::Array(statuses.collect())
}

fn key(pod: &Value) -> Key {
    Key::new("pods", object::namespace(pod), object::name(pod))
}
