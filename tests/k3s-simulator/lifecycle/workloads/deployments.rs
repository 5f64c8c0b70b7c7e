//! Deployment: one ReplicaSet for each template it had, the newest scaled up before older ones go down.

use std::sync::Arc;

use serde_json::{Value, json};

use super::owned;
use crate::api::World;
use crate::clock::Moment;
use crate::ids::short_hash;
use crate::lifecycle::events::{self, Event};
use crate::object;
use crate::store::Key;

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

pub(super) fn step(world: &mut World, deployment: &Value, now: Moment) {
    let namespace = object::namespace(deployment);
    let desired = object::number(deployment, "/spec/replicas").unwrap_or(1);
    let hash = short_hash(
        &deployment
            .pointer("/spec/template")
            .cloned()
            .unwrap_or_default()
            .to_string(),
    );
    let owned = owned(world, "replicasets.apps", deployment);
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
    write_status(world, deployment, current, &others, now);
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

fn write_status(
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
