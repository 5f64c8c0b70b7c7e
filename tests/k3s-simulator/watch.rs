//! One watch: where its reader is in the history, and the events that come next. No I/O, no buffer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Moment;
use crate::object;
use crate::request::Form;
use crate::resources::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{Change, ChangeKind, Store, version_of};
use crate::table;

pub(crate) struct Watch {
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) selector: Selector,
    pub(crate) form: Form,
    pub(crate) wants_bookmarks: bool,
    pub(crate) timeout: Duration,
    /// The newest version that its reader knows.
    pub(crate) seen: u64,
    /// The state to show before any change, until it was shown.
    pub(crate) start: Option<Start>,
}

pub(crate) struct Start {
    pub(crate) objects: Vec<Arc<Value>>,
    /// Whether a bookmark says that the initial state is complete.
    pub(crate) marks_end: bool,
}

/// Lines to send; `ends` when the watch is over.
#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) lines: Vec<u8>,
    pub(crate) ends: bool,
}

impl Watch {
    /// Everything that happened since the last call.
    pub(crate) fn poll(&mut self, store: &Store, now: Moment) -> Events {
        let mut events = Events::default();
        if let Some(start) = self.start.take() {
            for object in &start.objects {
                self.push(&mut events, "ADDED", object, now);
            }
            if start.marks_end {
                self.push_bookmark(&mut events, true);
            }
        }
        let namespace = self.namespace.as_deref();
        match store.changes_since(self.seen, &self.resource.id(), namespace) {
            Ok(changes) => {
                for change in changes {
                    if let Some((kind, object)) = visible(change, &self.selector) {
                        self.push(&mut events, kind, &object, now);
                    }
                }
                // A version of the future stays: its reader gets nothing until the store is there.
                self.seen = self.seen.max(store.version());
            }
            Err(expired) => {
                let status = ApiError::expired(self.seen, expired.oldest).body();
                push_line(&mut events, "ERROR", &status);
                events.ends = true;
            }
        }
        events
    }

    /// The bookmark that tells the reader how far it is, if it asked for such.
    pub(crate) fn bookmark(&self) -> Vec<u8> {
        let mut events = Events::default();
        if self.wants_bookmarks {
            self.push_bookmark(&mut events, false);
        }
        events.lines
    }

    fn push(&self, events: &mut Events, kind: &str, object: &Value, now: Moment) {
        push_line(
            events,
            kind,
            &table::shown(&self.resource, &self.form, object, now),
        );
    }

    fn push_bookmark(&self, events: &mut Events, marks_end: bool) {
        let mut metadata =
            json!({"resourceVersion": self.seen.to_string(), "creationTimestamp": null});
        if marks_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata});
        let shown = match &self.form {
            Form::Plain => object,
            Form::Table { version, .. } => json!({
                "kind": "Table",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata,
                "columnDefinitions": null,
                "rows": [],
            }),
            Form::Metadata { version } => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": metadata,
            }),
        };
        push_line(events, "BOOKMARK", &shown);
    }
}

fn push_line(events: &mut Events, kind: &str, object: &Value) {
    let line = json!({"type": kind, "object": object});
    events.lines.extend_from_slice(line.to_string().as_bytes());
    events.lines.push(b'\n');
}

/// What a reader with this selector sees of a change: an object that begins to match is added,
/// one that ceases to match is deleted.
fn visible(change: &Change, selector: &Selector) -> Option<(&'static str, Arc<Value>)> {
    let matched = change
        .previous
        .as_ref()
        .is_some_and(|previous| selector.matches(previous));
    let matches = change.kind != ChangeKind::Deleted && selector.matches(&change.object);
    match (matched, matches) {
        (false, false) => None,
        (false, true) => Some(("ADDED", change.object.clone())),
        (true, true) => Some(("MODIFIED", change.object.clone())),
        (true, false) => {
            let mut last = change.previous.as_deref().cloned().unwrap_or_default();
            object::set(
                &mut last,
                &["metadata", "resourceVersion"],
                json!(version_of(&change.object).to_string()),
            );
            Some(("DELETED", Arc::new(last)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::resources;
    use crate::store::Key;

    const NOW: Moment = Moment {
        uptime: Duration::ZERO,
        wall: SystemTime::UNIX_EPOCH,
    };

    fn pod(name: &str, phase: &str) -> (Key, Value) {
        let object = json!({"kind": "Pod", "metadata": {"name": name, "namespace": "a"}, "status": {"phase": phase}});
        (Key::new("pods", "a", name), object)
    }

    fn watch(store: &Store, fields: &str, seen: u64) -> Watch {
        Watch {
            resource: resources::find(store, "", "v1", "pods").unwrap(),
            namespace: None,
            selector: Selector::parse("", fields).unwrap(),
            form: Form::Plain,
            wants_bookmarks: true,
            timeout: Duration::from_secs(1),
            seen,
            start: None,
        }
    }

    fn kinds(events: &Events) -> Vec<String> {
        let text = std::str::from_utf8(&events.lines).unwrap();
        text.lines()
            .map(|line| {
                let event: Value = serde_json::from_str(line).unwrap();
                format!(
                    "{} {}",
                    object::text(&event, "/type"),
                    object::text(&event, "/object/metadata/resourceVersion")
                )
            })
            .collect()
    }

    #[test]
    fn objects_enter_and_leave_a_selection() {
        let mut store = Store::new(0, 8);
        let mut watch = watch(&store, "status.phase=Running", 0);
        for phase in ["Pending", "Running", "Running2", "Running"] {
            let (key, object) = pod("x", phase);
            store.put(key, object);
        }
        store.remove(&pod("x", "").0);
        assert_eq!(
            kinds(&watch.poll(&store, NOW)),
            ["ADDED 2", "DELETED 3", "ADDED 4", "DELETED 5"]
        );
        assert!(watch.poll(&store, NOW).lines.is_empty());
    }

    #[test]
    fn the_initial_state_ends_in_a_bookmark() {
        let mut store = Store::new(0, 8);
        let (key, object) = pod("x", "Running");
        let object = store.put(key, object);
        let mut watch = watch(&store, "", 1);
        watch.start = Some(Start {
            objects: vec![object],
            marks_end: true,
        });
        let events = watch.poll(&store, NOW);
        assert_eq!(kinds(&events), ["ADDED 1", "BOOKMARK 1"]);
        assert!(String::from_utf8_lossy(&events.lines).contains("k8s.io/initial-events-end"));
    }

    #[test]
    fn a_reader_that_is_too_late_is_told_so_once() {
        let mut store = Store::new(0, 2);
        for phase in ["1", "2", "3"] {
            let (key, object) = pod("x", phase);
            store.put(key, object);
        }
        let events = watch(&store, "", 0).poll(&store, NOW);
        assert!(events.ends);
        let text = String::from_utf8_lossy(&events.lines).into_owned();
        assert!(
            text.contains("\"ERROR\"") && text.contains("\"Expired\"") && text.contains("410"),
            "{text}"
        );
    }

    #[test]
    fn a_version_of_the_future_gets_nothing_until_the_store_is_there() {
        let mut store = Store::new(0, 8);
        let mut watch = watch(&store, "", 2);
        let (key, object) = pod("x", "1");
        store.put(key, object);
        assert!(watch.poll(&store, NOW).lines.is_empty());
        for phase in ["2", "3"] {
            let (key, object) = pod("x", phase);
            store.put(key, object);
        }
        assert_eq!(kinds(&watch.poll(&store, NOW)), ["MODIFIED 3"]);
    }
}
