//! The one node: it registers, waits for a network plugin, becomes Ready, and may fail by script.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::events::{self, Event};
use super::{Lifecycle, Wake, snapshot};
use crate::api::World;
use crate::clock::{Moment, rfc3339_micros};
use crate::object;
use crate::store::Key;
use crate::version;

/// How often a kubelet says that it lives.
const LEASE_INTERVAL: Duration = Duration::from_secs(10);

const NO_CNI: &str = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized";

/// What is true of the machine and the configuration.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) pod_cidr: String,
    pub(crate) embedded_etcd: bool,
    pub(crate) kernel: String,
    pub(crate) os_image: String,
    pub(crate) cpus: usize,
    pub(crate) memory_kib: u64,
    pub(crate) port: u16,
}

impl Lifecycle {
    pub(super) fn step_node(&mut self, world: &mut World, now: Moment, wake: &mut Wake) {
        if self.registered_at.is_none()
            && wake.is_due(self.script.ready_delay + self.script.node_delay, now)
        {
            self.registered_at = Some(now.uptime);
            self.register(world, now);
        }
        let Some(registered_at) = self.registered_at else {
            return;
        };
        self.renew_lease(world, now, wake);
        if self.cni_at.is_none() && (self.has_cni || has_network_plugin(world)) {
            self.cni_at = Some(now.uptime.max(registered_at));
        }
        let Some(cni_at) = self.cni_at else { return };
        if self.ready_at.is_none() && wake.is_due(cni_at + self.script.node_ready_delay, now) {
            self.ready_at = Some(now.uptime);
            self.become_ready(world, now);
        }
        if let (Some(ready_at), Some(after), false) = (
            self.ready_at,
            self.script.node_not_ready_after,
            self.has_failed,
        ) && wake.is_due(ready_at + after, now)
        {
            self.has_failed = true;
            self.fail(world, now);
        }
    }

    fn key(&self) -> Key {
        Key::new("nodes", "", &self.facts.name)
    }

    fn register(&self, world: &mut World, now: Moment) {
        let uid = world.ids.uid();
        let mut node = match world.store.object(&self.key()) {
            Some(node) => (**node).clone(),
            None => json!({
                "kind": "Node",
                "apiVersion": "v1",
                "metadata": {"name": self.facts.name, "uid": uid, "creationTimestamp": now.timestamp()},
            }),
        };
        self.describe(&mut node);
        let at = now.timestamp();
        for (kind, reason, message) in [
            (
                "MemoryPressure",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            (
                "DiskPressure",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            (
                "PIDPressure",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
        ] {
            set_condition(&mut node, kind, "False", reason, message, &at);
        }
        set_ready(&mut node, "False", "KubeletNotReady", NO_CNI, &at);
        let node = world.store.put(self.key(), node);
        for (reason, message, component) in [
            ("Starting", "Starting kubelet.", "kubelet"),
            (
                "RegisteredNode",
                &*format!(
                    "Node {0} event: Registered Node {0} in Controller",
                    self.facts.name
                ),
                "node-controller",
            ),
        ] {
            events::record(
                world,
                &node,
                &Event {
                    kind: "Normal",
                    reason,
                    message,
                    component,
                },
                now,
            );
        }
    }

    fn describe(&self, node: &mut Value) {
        let facts = &self.facts;
        let architecture = version::architecture();
        let mut labels = vec![
            ("beta.kubernetes.io/arch", architecture),
            ("beta.kubernetes.io/instance-type", "k3s"),
            ("beta.kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture),
            ("kubernetes.io/hostname", facts.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("node-role.kubernetes.io/control-plane", "true"),
            ("node-role.kubernetes.io/master", "true"),
            ("node.kubernetes.io/instance-type", "k3s"),
        ];
        if facts.embedded_etcd {
            labels.push(("node-role.kubernetes.io/etcd", "true"));
        }
        labels.extend(
            facts
                .labels
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        for (key, value) in labels {
            object::set(node, &["metadata", "labels", key], json!(value));
        }
        let joined = facts
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",");
        object::set(
            node,
            &["metadata", "annotations", "k3s.io/internal-ip"],
            json!(joined),
        );
        object::set(
            node,
            &["metadata", "annotations", "k3s.io/hostname"],
            json!(facts.name),
        );
        object::set(node, &["spec", "podCIDR"], json!(facts.pod_cidr));
        object::set(node, &["spec", "podCIDRs"], json!([facts.pod_cidr]));
        object::set(
            node,
            &["spec", "providerID"],
            json!(format!("k3s://{}", facts.name)),
        );
        let mut addresses: Vec<_> = facts
            .addresses
            .iter()
            .map(|address| json!({"type": "InternalIP", "address": address.to_string()}))
            .collect();
        addresses.push(json!({"type": "Hostname", "address": facts.name}));
        object::set(node, &["status", "addresses"], Value::Array(addresses));
        let resources = json!({"cpu": facts.cpus.to_string(), "memory": format!("{}Ki", facts.memory_kib), "pods": "110"});
        object::set(node, &["status", "capacity"], resources.clone());
        object::set(node, &["status", "allocatable"], resources);
        object::set(
            node,
            &["status", "daemonEndpoints"],
            json!({"kubeletEndpoint": {"Port": 10250}}),
        );
        object::set(
            node,
            &["status", "nodeInfo"],
            json!({
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kernelVersion": facts.kernel,
                "osImage": facts.os_image,
                "containerRuntimeVersion": "none://simulated",
                "kubeletVersion": version::KUBERNETES,
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": architecture,
            }),
        );
    }

    fn become_ready(&self, world: &mut World, now: Moment) {
        let message = "kubelet is posting ready status";
        self.change(world, now, |node, at| {
            set_ready(node, "True", "KubeletReady", message, at);
        });
        self.record(world, "NodeReady", now);
    }

    fn fail(&self, world: &mut World, now: Moment) {
        let message = "container runtime is down (simulated)";
        self.change(world, now, |node, at| {
            set_ready(node, "False", "KubeletNotReady", message, at);
        });
        self.record(world, "NodeNotReady", now);
    }

    fn change(&self, world: &mut World, now: Moment, change: impl Fn(&mut Value, &str)) {
        if let Some(node) = world.store.object(&self.key()) {
            let mut node = (**node).clone();
            change(&mut node, &now.timestamp());
            world.store.put(self.key(), node);
        }
    }

    fn record(&self, world: &mut World, reason: &str, now: Moment) {
        let Some(node) = world.store.object(&self.key()).cloned() else {
            return;
        };
        let message = format!("Node {} status is now: {reason}", self.facts.name);
        let event = Event {
            kind: "Normal",
            reason,
            message: &message,
            component: "kubelet",
        };
        events::record(world, &node, &event, now);
    }

    fn renew_lease(&mut self, world: &mut World, now: Moment, wake: &mut Wake) {
        let is_due = self
            .lease_renewed_at
            .is_none_or(|at| wake.is_due(at + LEASE_INTERVAL, now));
        if !is_due {
            return;
        }
        self.lease_renewed_at = Some(now.uptime);
        let key = Key::new(
            "leases.coordination.k8s.io",
            "kube-node-lease",
            &self.facts.name,
        );
        let uid = world.ids.uid();
        let renewed = json!(rfc3339_micros(now.wall));
        let mut lease = match world.store.object(&key) {
            Some(lease) => (**lease).clone(),
            None => json!({
                "kind": "Lease",
                "apiVersion": "coordination.k8s.io/v1",
                "metadata": {"name": self.facts.name, "namespace": "kube-node-lease", "uid": uid, "creationTimestamp": now.timestamp()},
                "spec": {"holderIdentity": self.facts.name, "leaseDurationSeconds": 40},
            }),
        };
        object::set(&mut lease, &["spec", "renewTime"], renewed);
        world.store.put(key, lease);
        wake.is_due(now.uptime + LEASE_INTERVAL, now);
    }
}

/// A condition of a node has the time of the kubelet's last word beside that of its last change.
fn set_condition(
    node: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    at: &str,
) {
    object::set_condition(node, kind, status, reason, message, at);
    let conditions = node
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut);
    let written = conditions
        .into_iter()
        .flatten()
        .find(|condition| object::text(condition, "/type") == kind);
    if let Some(written) = written {
        written["lastHeartbeatTime"] = json!(at);
    }
}

/// The condition and the taint that goes with it.
fn set_ready(node: &mut Value, status: &str, reason: &str, message: &str, at: &str) {
    set_condition(node, "Ready", status, reason, message, at);
    let mut taints: Vec<_> = object::items(node, "/spec/taints")
        .iter()
        .filter(|taint| object::text(taint, "/key") != NOT_READY)
        .cloned()
        .collect();
    if status != "True" {
        taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    if taints.is_empty() {
        object::remove(node, "/spec", "taints");
    } else {
        object::set(node, &["spec", "taints"], Value::Array(taints));
    }
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Whether someone installed a CNI: a workload named `cilium`, or a DaemonSet labelled as one.
fn has_network_plugin(world: &World) -> bool {
    let is_system = |object: &Value| object::namespace(object) == "kube-system";
    let is_named = |object: &Value| is_system(object) && object::name(object) == "cilium";
    let is_labelled = |object: &Value| {
        [
            "/metadata/labels/k8s-app",
            "/spec/template/metadata/labels/k8s-app",
            "/spec/selector/matchLabels/k8s-app",
        ]
        .iter()
        .any(|pointer| object::text(object, pointer) == "cilium")
    };
    snapshot(world, "daemonsets.apps")
        .iter()
        .any(|set| is_named(set) || is_labelled(set))
        || snapshot(world, "deployments.apps")
            .iter()
            .any(|deployment| is_named(deployment))
}
