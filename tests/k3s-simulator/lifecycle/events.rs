//! `Event` objects. The newest few hundred are kept.

use serde_json::{Value, json};

use crate::api::World;
use crate::clock::Moment;
use crate::object;
use crate::store::{Key, version_of};

const EVENTS_LIMIT: usize = 300;

pub(super) struct Event<'a> {
    pub(super) kind: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    pub(super) component: &'a str,
}

/// Records that something happened to `involved`; the same thing again only counts up.
pub(super) fn record(world: &mut World, involved: &Value, event: &Event<'_>, now: Moment) {
    let namespace = match object::namespace(involved) {
        "" => "default",
        namespace => namespace,
    };
    let at = now.timestamp();
    let is_same = |other: &Value| {
        object::text(other, "/involvedObject/uid") == object::uid(involved)
            && object::text(other, "/reason") == event.reason
            && object::text(other, "/message") == event.message
    };
    let earlier = world
        .store
        .list("events", Some(namespace))
        .find(|(_, other)| is_same(other));
    if let Some((key, earlier)) = earlier {
        let (key, mut again) = (key.clone(), (**earlier).clone());
        let count = object::number(&again, "/count").unwrap_or(1) + 1;
        object::set(&mut again, &["count"], json!(count));
        object::set(&mut again, &["lastTimestamp"], json!(at));
        world.store.put(key, again);
        return;
    }
    let name = format!(
        "{}.{}",
        object::name(involved),
        world.ids.uid().replace('-', "").split_at(16).0
    );
    let uid = world.ids.uid();
    let written = json!({
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "creationTimestamp": at},
        "involvedObject": {
            "kind": object::text(involved, "/kind"),
            "apiVersion": object::text(involved, "/apiVersion"),
            "namespace": object::namespace(involved),
            "name": object::name(involved),
            "uid": object::uid(involved),
        },
        "reason": event.reason,
        "message": event.message,
        "source": {"component": event.component},
        "reportingComponent": event.component,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
        "type": event.kind,
    });
    world
        .store
        .put(Key::new("events", namespace, &name), written);
    forget_oldest(world);
}

fn forget_oldest(world: &mut World) {
    let mut events: Vec<_> = world
        .store
        .list("events", None)
        .map(|(key, event)| (version_of(event), key.clone()))
        .collect();
    if events.len() <= EVENTS_LIMIT {
        return;
    }
    events.sort();
    for (_, key) in events.iter().take(events.len() - EVENTS_LIMIT) {
        world.store.remove(key);
    }
}
