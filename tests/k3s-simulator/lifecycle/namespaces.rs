//! Namespaces: the ones that every cluster has, what each contains, and their end.

use serde_json::{Value, json};

use super::snapshot;
use crate::api::World;
use crate::clock::Moment;
use crate::object;
use crate::store::Key;

pub(super) fn begin(world: &mut World, now: Moment) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace = json!({
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        });
        create(world, Key::new("namespaces", "", name), namespace, now);
    }
}

/// Gives a living namespace its account and root certificate, and empties a dying one.
pub(super) fn reconcile(world: &mut World, server_ca_pem: &str, now: Moment) {
    for namespace in snapshot(world, "namespaces") {
        let name = object::name(&namespace);
        if object::is_terminating(&namespace) {
            empty(world, name);
            world.store.remove(&Key::new("namespaces", "", name));
            continue;
        }
        let account = json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default", "namespace": name}});
        create(
            world,
            Key::new("serviceaccounts", name, "default"),
            account,
            now,
        );
        let certificate = json!({
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"name": "kube-root-ca.crt", "namespace": name},
            "data": {"ca.crt": server_ca_pem},
        });
        create(
            world,
            Key::new("configmaps", name, "kube-root-ca.crt"),
            certificate,
            now,
        );
    }
}

fn empty(world: &mut World, namespace: &str) {
    let contents: Vec<_> = world
        .store
        .all()
        .map(|(key, _)| key)
        .filter(|key| key.namespace == namespace)
        .cloned()
        .collect();
    for key in contents {
        world.store.remove(&key);
    }
}

/// Stores an object that the cluster itself owns, unless it is there.
pub(super) fn create(world: &mut World, key: Key, mut object: Value, now: Moment) {
    if world.store.object(&key).is_some() {
        return;
    }
    object::set(&mut object, &["metadata", "uid"], json!(world.ids.uid()));
    object::set(
        &mut object,
        &["metadata", "creationTimestamp"],
        json!(now.timestamp()),
    );
    if object.get("spec").is_some() && key.resource != "namespaces" {
        object::set(&mut object, &["metadata", "generation"], json!(1));
    }
    world.store.put(key, object);
}
