//! The workload controllers: Deployment → ReplicaSet → Pod, StatefulSet, DaemonSet and Job.

use std::sync::Arc;

use serde_json::{Value, json};

use super::events::{self, Event};
use super::snapshot;
use crate::api::World;
use crate::clock::Moment;
use crate::ids::short_hash;
use crate::object;
use crate::store::Key;

mod deployments;

const REVISION_LABEL: &str = "controller-revision-hash";

/// `node` is the name of the node once it is registered: a DaemonSet has one pod on it.
pub(super) fn reconcile(world: &mut World, node: Option<&str>, now: Moment) {
    for deployment in snapshot(world, "deployments.apps") {
        deployments::step(world, &deployment, now);
    }
    for set in snapshot(world, "replicasets.apps") {
        replica_set_step(world, &set, now);
    }
    for set in snapshot(world, "statefulsets.apps") {
        stateful_set_step(world, &set, now);
    }
    for set in snapshot(world, "daemonsets.apps") {
        daemon_set_step(world, &set, node.is_some(), now);
    }
    for job in snapshot(world, "jobs.batch") {
        job_step(world, &job, now);
    }
}

fn replica_set_step(world: &mut World, set: &Value, now: Moment) {
    let desired = usize::try_from(object::number(set, "/spec/replicas").unwrap_or(1)).unwrap_or(0);
    let mut pods = active_pods(world, set);
    pods.sort_by_key(|pod| {
        (
            !object::condition_is_true(pod, "Ready"),
            object::text(pod, "/metadata/creationTimestamp").to_owned(),
        )
    });
    for pod in pods.iter().skip(desired) {
        delete_pod(world, set, pod, "replicaset-controller", now);
    }
    for _ in pods.len()..desired.min(PODS_LIMIT) {
        let name = format!("{}-{}", object::name(set), world.ids.suffix());
        create_pod(world, set, &name, &[], "replicaset-controller", now);
    }
    write_replica_status(world, "replicasets.apps", set);
}

/// More pods than a node takes are never made, however many are asked for.
const PODS_LIMIT: usize = 110;

fn stateful_set_step(world: &mut World, set: &Value, now: Moment) {
    let desired = usize::try_from(object::number(set, "/spec/replicas").unwrap_or(1))
        .unwrap_or(0)
        .min(PODS_LIMIT);
    let names: Vec<_> = (0..desired)
        .map(|ordinal| format!("{}-{ordinal}", object::name(set)))
        .collect();
    let hash = template_hash(set);
    let pods = active_pods(world, set);
    for pod in &pods {
        let is_current = object::text(pod, &format!("/metadata/labels/{REVISION_LABEL}")) == hash;
        if !is_current || !names.iter().any(|name| name == object::name(pod)) {
            delete_pod(world, set, pod, "statefulset-controller", now);
        }
    }
    // One after the other, each when the one before it is ready.
    for name in &names {
        match active_pods(world, set)
            .iter()
            .find(|pod| object::name(pod) == name)
        {
            Some(pod) if object::condition_is_true(pod, "Ready") => {}
            Some(_) => break,
            None => {
                create_pod(
                    world,
                    set,
                    name,
                    &[(REVISION_LABEL, &hash)],
                    "statefulset-controller",
                    now,
                );
                break;
            }
        }
    }
    write_replica_status(world, "statefulsets.apps", set);
}

fn write_replica_status(world: &mut World, resource: &str, set: &Value) {
    let key = Key::new(resource, object::namespace(set), object::name(set));
    let Some(mut written) = world.store.object(&key).map(|set| (**set).clone()) else {
        return;
    };
    let pods = active_pods(world, set);
    let ready = pods
        .iter()
        .filter(|pod| object::condition_is_true(pod, "Ready"))
        .count();
    let mut fields = vec![
        ("replicas", pods.len()),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
    ];
    if resource == "statefulsets.apps" {
        let hash = template_hash(set);
        object::set(&mut written, &["status", "currentRevision"], json!(hash));
        object::set(&mut written, &["status", "updateRevision"], json!(hash));
        fields.extend([
            ("currentReplicas", pods.len()),
            ("updatedReplicas", pods.len()),
        ]);
    } else {
        fields.push(("fullyLabeledReplicas", pods.len()));
    }
    for (field, value) in fields {
        object::set(&mut written, &["status", field], json!(value));
    }
    let generation = object::number(&written, "/metadata/generation").unwrap_or(1);
    object::set(
        &mut written,
        &["status", "observedGeneration"],
        json!(generation),
    );
    world.store.put(key, written);
}

fn daemon_set_step(world: &mut World, set: &Value, has_node: bool, now: Moment) {
    let hash = template_hash(set);
    let mut current = 0;
    for pod in active_pods(world, set) {
        let is_current = object::text(&pod, &format!("/metadata/labels/{REVISION_LABEL}")) == hash;
        if has_node && is_current && current == 0 {
            current += 1;
        } else {
            delete_pod(world, set, &pod, "daemonset-controller", now);
        }
    }
    if has_node && current == 0 {
        let name = format!("{}-{}", object::name(set), world.ids.suffix());
        create_pod(
            world,
            set,
            &name,
            &[(REVISION_LABEL, &hash)],
            "daemonset-controller",
            now,
        );
    }
    let key = Key::new("daemonsets.apps", object::namespace(set), object::name(set));
    let Some(mut written) = world.store.object(&key).map(|set| (**set).clone()) else {
        return;
    };
    let pods = active_pods(world, set);
    let ready = pods
        .iter()
        .filter(|pod| object::condition_is_true(pod, "Ready"))
        .count();
    let generation = object::number(&written, "/metadata/generation").unwrap_or(1);
    for (field, value) in [
        ("desiredNumberScheduled", usize::from(has_node)),
        ("currentNumberScheduled", pods.len()),
        ("updatedNumberScheduled", pods.len()),
        ("numberReady", ready),
        ("numberAvailable", ready),
        ("numberMisscheduled", 0),
    ] {
        object::set(&mut written, &["status", field], json!(value));
    }
    object::set(
        &mut written,
        &["status", "observedGeneration"],
        json!(generation),
    );
    world.store.put(key, written);
}

fn job_step(world: &mut World, job: &Value, now: Moment) {
    if object::condition_is_true(job, "Complete") {
        return;
    }
    let wanted = usize::try_from(object::number(job, "/spec/completions").unwrap_or(1))
        .unwrap_or(0)
        .min(PODS_LIMIT);
    let pods = owned(world, "pods", job);
    for _ in pods.len()..wanted {
        let name = format!("{}-{}", object::name(job), world.ids.suffix());
        let (job_name, job_uid) = (object::name(job).to_owned(), object::uid(job).to_owned());
        let labels = [
            ("job-name", job_name.as_str()),
            ("batch.kubernetes.io/job-name", &job_name),
            ("batch.kubernetes.io/controller-uid", &job_uid),
        ];
        create_pod(world, job, &name, &labels, "job-controller", now);
    }
    let succeeded = pods
        .iter()
        .filter(|pod| object::text(pod, "/status/phase") == "Succeeded")
        .count();
    let key = Key::new("jobs.batch", object::namespace(job), object::name(job));
    let mut written = job.clone();
    let at = now.timestamp();
    object::default(&mut written, &["status", "startTime"], json!(at));
    object::set(&mut written, &["status", "succeeded"], json!(succeeded));
    object::set(
        &mut written,
        &["status", "active"],
        json!(wanted.saturating_sub(succeeded)),
    );
    if succeeded >= wanted {
        object::set(&mut written, &["status", "completionTime"], json!(at));
        object::set_condition(
            &mut written,
            "Complete",
            "True",
            "CompletionsReached",
            "",
            &at,
        );
    }
    world.store.put(key, written);
}

fn template_hash(owner: &Value) -> String {
    short_hash(
        &owner
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default()
            .to_string(),
    )
}

fn create_pod(
    world: &mut World,
    owner: &Value,
    name: &str,
    labels: &[(&str, &str)],
    component: &str,
    now: Moment,
) {
    let namespace = object::namespace(owner);
    let template = owner.pointer("/spec/template");
    let uid = world.ids.uid();
    let mut pod = json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "creationTimestamp": now.timestamp(),
            "ownerReferences": [object::owner_reference(owner)],
        },
        "spec": template.and_then(|template| template.get("spec")),
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    });
    for field in ["labels", "annotations"] {
        if let Some(value) = template
            .and_then(|template| template.get("metadata"))
            .and_then(|metadata| metadata.get(field))
        {
            object::set(&mut pod, &["metadata", field], value.clone());
        }
    }
    for (key, value) in labels {
        object::set(&mut pod, &["metadata", "labels", key], json!(value));
    }
    world.store.put(Key::new("pods", namespace, name), pod);
    let message = format!("Created pod: {name}");
    events::record(
        world,
        owner,
        &Event {
            kind: "Normal",
            reason: "SuccessfulCreate",
            message: &message,
            component,
        },
        now,
    );
}

fn delete_pod(world: &mut World, owner: &Value, pod: &Value, component: &str, now: Moment) {
    world
        .store
        .remove(&Key::new("pods", object::namespace(pod), object::name(pod)));
    let message = format!("Deleted pod: {}", object::name(pod));
    events::record(
        world,
        owner,
        &Event {
            kind: "Normal",
            reason: "SuccessfulDelete",
            message: &message,
            component,
        },
        now,
    );
}

fn active_pods(world: &World, owner: &Value) -> Vec<Arc<Value>> {
    let mut pods = owned(world, "pods", owner);
    pods.retain(|pod| {
        !object::is_terminating(pod)
            && !matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
    });
    pods
}

fn owned(world: &World, resource: &str, owner: &Value) -> Vec<Arc<Value>> {
    world
        .store
        .list(resource, Some(object::namespace(owner)))
        .map(|(_, object)| object)
        .filter(|object| object::controller_uid(object) == Some(object::uid(owner)))
        .cloned()
        .collect()
}
