//! What disappears with something else: objects without owners, and custom resources without a
//! definition. And what a new definition gets: its conditions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::snapshot;
use crate::api::World;
use crate::clock::Moment;
use crate::object;
use crate::resources::{self, CRDS};
use crate::store::Key;

pub(super) fn reconcile(world: &mut World, now: Moment) {
    establish_definitions(world, now);
    remove_orphans(world);
    remove_undefined(world);
}

fn establish_definitions(world: &mut World, now: Moment) {
    for definition in snapshot(world, CRDS) {
        if object::condition_is_true(&definition, "Established") {
            continue;
        }
        let mut written = (*definition).clone();
        let at = now.timestamp();
        object::set_condition(
            &mut written,
            "NamesAccepted",
            "True",
            "NoConflicts",
            "no conflicts found",
            &at,
        );
        object::set_condition(
            &mut written,
            "Established",
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
            &at,
        );
        let names = written
            .pointer("/spec/names")
            .cloned()
            .unwrap_or_else(|| json!({}));
        object::set(&mut written, &["status", "acceptedNames"], names);
        let stored: Vec<_> = object::items(&written, "/spec/versions")
            .iter()
            .filter(|version| version.get("storage") == Some(&Value::Bool(true)))
            .map(|version| json!(object::text(version, "/name")))
            .collect();
        object::set(
            &mut written,
            &["status", "storedVersions"],
            Value::Array(stored),
        );
        world
            .store
            .put(Key::new(CRDS, "", object::name(&definition)), written);
    }
}

fn remove_orphans(world: &mut World) {
    let uids: BTreeSet<_> = world
        .store
        .all()
        .map(|(_, object)| object::uid(object).to_owned())
        .collect();
    let is_orphan = |object: &Value| {
        let owners = object::items(object, "/metadata/ownerReferences");
        !owners.is_empty()
            && owners
                .iter()
                .all(|owner| !uids.contains(object::uid_of_reference(owner)))
    };
    let orphans: Vec<_> = world
        .store
        .all()
        .filter(|(_, object)| is_orphan(object))
        .map(|(key, _)| key.clone())
        .collect();
    for key in orphans {
        world.store.remove(&key);
    }
}

fn remove_undefined(world: &mut World) {
    let defined: BTreeSet<_> = resources::all(&world.store)
        .iter()
        .map(resources::Resource::id)
        .collect();
    let undefined: Vec<_> = world
        .store
        .all()
        .map(|(key, _)| key)
        .filter(|key| !defined.contains(&key.resource))
        .cloned()
        .collect();
    for key in undefined {
        world.store.remove(&key);
    }
}
