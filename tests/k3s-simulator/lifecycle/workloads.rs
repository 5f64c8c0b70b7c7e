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

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_LABEL: &str = "controller-revision-hash";

/// `node` is the name of the node once it is registered: a DaemonSet has one pod on it.
pub(super) fn reconcile(world: &mut World, node: Option<&str>, now: Moment) {
    for deployment in snapshot(world, "deployments.apps") {
        deployment_step(world, &deployment, now);
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

fn deployment_step(world: &mut World, deployment: &Value, now: Moment) {
    let namespace = object::namespace(deployment);
    let desired = object::number(deployment, "/spec/replicas").unwrap_or(1);
    let hash = short_hash(
        &deployment
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default()
            .to_string(),
    );
    let owned: Vec<_> = owned(world, "replicasets.apps", deployment);
    let current = owned
        .iter()
        .find(|set| object::text(set, &format!("/metadata/labels/{HASH_LABEL}")) == hash);
    let Some(current) = current else {
        let revision = owned
            .iter()
            .filter_map(|set| revision(set))
            .max()
            .unwrap_or(0)
            + 1;
        create_replica_set(world, deployment, &hash, desired, revision, now);
        annotate_revision(world, deployment, revision);
        return;
    };
    let newest = owned
        .iter()
        .filter_map(|set| revision(set))
        .max()
        .unwrap_or(1);
    if revision(current) != Some(newest) {
        // A template that was used before: its set becomes the newest revision again.
        let key = Key::new("replicasets.apps", namespace, object::name(current));
        let mut again = (**current).clone();
        object::set(
            &mut again,
            &["metadata", "annotations", REVISION],
            json!((newest + 1).to_string()),
        );
        world.store.put(key, again);
        annotate_revision(world, deployment, newest + 1);
        return;
    }
    scale(world, deployment, current, desired, now);
    let available = object::number(current, "/status/availableReplicas").unwrap_or(0);
    let others: Vec<_> = owned
        .iter()
        .filter(|set| object::uid(set) != object::uid(current))
        .cloned()
        .collect();
    if available >= desired {
        for old in &others {
            scale(world, deployment, old, 0, now);
        }
        forget_old_revisions(world, deployment, &others);
    }
    write_deployment_status(world, deployment, current, &others, now);
}

fn create_replica_set(
    world: &mut World,
    deployment: &Value,
    hash: &str,
    desired: i64,
    revision: i64,
    now: Moment,
) {
    let namespace = object::namespace(deployment);
    let name = format!("{}-{hash}", object::name(deployment));
    let mut template = deployment
        .pointer("/spec/template")
        .cloned()
        .unwrap_or_else(|| json!({}));
    object::set(
        &mut template,
        &["metadata", "labels", HASH_LABEL],
        json!(hash),
    );
    let mut selector = deployment
        .pointer("/spec/selector")
        .cloned()
        .unwrap_or_else(|| json!({}));
    object::set(&mut selector, &["matchLabels", HASH_LABEL], json!(hash));
    let uid = world.ids.uid();
    let set = json!({
        "kind": "ReplicaSet",
        "apiVersion": "apps/v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "creationTimestamp": now.timestamp(),
            "generation": 1,
            "labels": template.pointer("/metadata/labels"),
            "annotations": {REVISION: revision.to_string()},
            "ownerReferences": [object::owner_reference(deployment)],
        },
        "spec": {"replicas": desired, "selector": selector, "template": template},
        "status": {"replicas": 0},
    });
    world
        .store
        .put(Key::new("replicasets.apps", namespace, &name), set);
    record_scaling(world, deployment, &name, 0, desired, now);
}

fn annotate_revision(world: &mut World, deployment: &Value, revision: i64) {
    let key = Key::new(
        "deployments.apps",
        object::namespace(deployment),
        object::name(deployment),
    );
    if let Some(deployment) = world.store.object(&key) {
        let mut deployment = (**deployment).clone();
        object::set(
            &mut deployment,
            &["metadata", "annotations", REVISION],
            json!(revision.to_string()),
        );
        world.store.put(key, deployment);
    }
}

fn revision(set: &Value) -> Option<i64> {
    set.get("metadata")?
        .get("annotations")?
        .get(REVISION)?
        .as_str()?
        .parse()
        .ok()
}

fn scale(world: &mut World, deployment: &Value, set: &Value, replicas: i64, now: Moment) {
    let before = object::number(set, "/spec/replicas").unwrap_or(0);
    if before == replicas {
        return;
    }
    let mut scaled = set.clone();
    object::set(&mut scaled, &["spec", "replicas"], json!(replicas));
    let generation = object::number(set, "/metadata/generation").unwrap_or(1);
    object::set(
        &mut scaled,
        &["metadata", "generation"],
        json!(generation + 1),
    );
    world.store.put(
        Key::new(
            "replicasets.apps",
            object::namespace(set),
            object::name(set),
        ),
        scaled,
    );
    record_scaling(world, deployment, object::name(set), before, replicas, now);
}

fn record_scaling(
    world: &mut World,
    deployment: &Value,
    set: &str,
    before: i64,
    after: i64,
    now: Moment,
) {
    let direction = if after >= before { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {set} from {before} to {after}");
    let event = Event {
        kind: "Normal",
        reason: "ScalingReplicaSet",
        message: &message,
        component: "deployment-controller",
    };
    events::record(world, deployment, &event, now);
}

fn forget_old_revisions(world: &mut World, deployment: &Value, old: &[Arc<Value>]) {
    let kept =
        usize::try_from(object::number(deployment, "/spec/revisionHistoryLimit").unwrap_or(10))
            .unwrap_or(0);
    let mut idle: Vec<_> = old
        .iter()
        .filter(|set| object::number(set, "/status/replicas").unwrap_or(0) == 0)
        .collect();
    idle.sort_by_key(|set| revision(set));
    let surplus = idle.len().saturating_sub(kept);
    for set in idle.into_iter().take(surplus) {
        world.store.remove(&Key::new(
            "replicasets.apps",
            object::namespace(set),
            object::name(set),
        ));
    }
}

fn write_deployment_status(
    world: &mut World,
    deployment: &Value,
    current: &Value,
    others: &[Arc<Value>],
    now: Moment,
) {
    let key = Key::new(
        "deployments.apps",
        object::namespace(deployment),
        object::name(deployment),
    );
    let Some(mut written) = world
        .store
        .object(&key)
        .map(|deployment| (**deployment).clone())
    else {
        return;
    };
    let count =
        |set: &Value, field: &str| object::number(set, &format!("/status/{field}")).unwrap_or(0);
    let total = |field: &str| {
        count(current, field) + others.iter().map(|set| count(set, field)).sum::<i64>()
    };
    let desired = object::number(&written, "/spec/replicas").unwrap_or(1);
    let updated = count(current, "replicas");
    let available = total("availableReplicas");
    for (field, value) in [
        (
            "observedGeneration",
            object::number(&written, "/metadata/generation").unwrap_or(1),
        ),
        ("replicas", total("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", total("readyReplicas")),
        ("availableReplicas", available),
        ("unavailableReplicas", desired - available.min(desired)),
    ] {
        if value == 0 && field != "observedGeneration" {
            object::remove(&mut written, "/status", field);
        } else {
            object::set(&mut written, &["status", field], json!(value));
        }
    }
    let at = now.timestamp();
    let (status, reason, message) = if available >= desired {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        )
    };
    object::set_condition(&mut written, "Available", status, reason, message, &at);
    let is_complete = updated == desired && available == desired && total("replicas") == desired;
    let (reason, verb) = if is_complete {
        ("NewReplicaSetAvailable", "has successfully progressed")
    } else {
        ("ReplicaSetUpdated", "is progressing")
    };
    let message = format!("ReplicaSet \"{}\" {verb}.", object::name(current));
    object::set_condition(&mut written, "Progressing", "True", reason, &message, &at);
    world.store.put(key, written);
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
