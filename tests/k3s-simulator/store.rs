//! All objects of the cluster and the recent history of their changes.
//!
//! Pure and synchronous: every write gets the next version, every watcher asks for the changes after
//! the version that it has seen. The history is bounded; who asks for older changes is told to list
//! again. There are no buffers per watcher.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

/// Enough for every watcher to be late by several busy minutes; a few MiB at most.
pub(crate) const HISTORY_LIMIT: usize = 1024;

/// Where an object is kept: `resource` is `pods` or `deployments.apps`, `namespace` empty for cluster scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) key: Key,
    pub(crate) kind: ChangeKind,
    /// As it is after the change; for a deletion as it was, at the deletion's version.
    pub(crate) object: Arc<Value>,
    pub(crate) previous: Option<Arc<Value>>,
}

/// The asked-for changes are no longer in the history.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) oldest: u64,
}

pub(crate) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    version: u64,
    history: VecDeque<Change>,
    history_limit: usize,
    /// The newest version that the history no longer has.
    forgotten: u64,
}

impl Store {
    /// An empty store whose history begins at `version`.
    pub(crate) fn new(version: u64, history_limit: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            version,
            history: VecDeque::new(),
            history_limit,
            forgotten: version,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn object(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a resource, of one namespace or of all, ordered by namespace and name.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &'a str,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let first = Key::new(resource, namespace.unwrap_or(""), "");
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| {
                key.resource == resource && namespace.is_none_or(|wanted| key.namespace == wanted)
            })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Creates or replaces an object. One that is the same as before gets no new version.
    pub(crate) fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        let previous = self.objects.get(&key).cloned();
        if let Some(previous) = &previous {
            set_version(&mut object, version_of(previous));
            if **previous == object {
                return previous.clone();
            }
        }
        self.version += 1;
        set_version(&mut object, self.version);
        let object = Arc::new(object);
        self.objects.insert(key.clone(), object.clone());
        let kind = if previous.is_some() {
            ChangeKind::Modified
        } else {
            ChangeKind::Added
        };
        self.remember(Change {
            version: self.version,
            key,
            kind,
            object: object.clone(),
            previous,
        });
        object
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let previous = self.objects.remove(key)?;
        self.version += 1;
        let mut last = (*previous).clone();
        set_version(&mut last, self.version);
        let object = Arc::new(last);
        self.remember(Change {
            version: self.version,
            key: key.clone(),
            kind: ChangeKind::Deleted,
            object: object.clone(),
            previous: Some(previous),
        });
        Some(object)
    }

    /// The changes of a resource after `version`, oldest first.
    ///
    /// # Errors
    /// Some of them are forgotten.
    pub(crate) fn changes_since(
        &self,
        version: u64,
        resource: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<&Change>, Expired> {
        if version < self.forgotten {
            return Err(Expired {
                oldest: self.forgotten,
            });
        }
        let start = self
            .history
            .partition_point(|change| change.version <= version);
        Ok(self
            .history
            .range(start..)
            .filter(|change| change.key.resource == resource)
            .filter(|change| namespace.is_none_or(|wanted| change.key.namespace == wanted))
            .collect())
    }

    /// Everything that [`Store::restore`] needs after a restart.
    pub(crate) fn dump(&self) -> Value {
        let objects: Vec<_> = self
            .objects
            .iter()
            .map(|(key, object)| json!({"resource": key.resource, "namespace": key.namespace, "name": key.name, "object": **object}))
            .collect();
        json!({"version": self.version, "objects": objects})
    }

    /// The store as it was dumped, with an empty history; none if the dump is not one of ours.
    pub(crate) fn restore(dump: Value, history_limit: usize) -> Option<Self> {
        let mut store = Self::new(dump.get("version")?.as_u64()?, history_limit);
        let Value::Object(mut dump) = dump else {
            return None;
        };
        let Value::Array(entries) = dump.remove("objects")? else {
            return None;
        };
        for mut entry in entries {
            let part = |name: &str| entry.get(name).and_then(Value::as_str);
            let key = Key::new(part("resource")?, part("namespace")?, part("name")?);
            store
                .objects
                .insert(key, Arc::new(entry.get_mut("object")?.take()));
        }
        Some(store)
    }

    fn remember(&mut self, change: Change) {
        self.history.push_back(change);
        while self.history.len() > self.history_limit {
            if let Some(dropped) = self.history.pop_front() {
                self.forgotten = dropped.version;
            }
        }
    }
}

/// The version at which an object was last written; 0 when it says nothing sensible.
pub(crate) fn version_of(object: &Value) -> u64 {
    object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn set_version(object: &mut Value, version: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "resourceVersion".to_owned(),
            Value::String(version.to_string()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, phase: &str) -> (Key, Value) {
        let object =
            json!({"metadata": {"name": name, "namespace": "a"}, "status": {"phase": phase}});
        (Key::new("pods", "a", name), object)
    }

    fn put(store: &mut Store, (key, object): (Key, Value)) -> u64 {
        version_of(&store.put(key, object))
    }

    #[test]
    fn versions_rise_and_an_unchanged_write_keeps_its_own() {
        let mut store = Store::new(10, 8);
        assert_eq!(put(&mut store, pod("x", "Pending")), 11);
        assert_eq!(put(&mut store, pod("x", "Pending")), 11);
        assert_eq!(put(&mut store, pod("x", "Running")), 12);
        assert_eq!(store.version(), 12);
    }

    #[test]
    fn a_watcher_resumes_after_the_version_it_has_seen() {
        let mut store = Store::new(0, 8);
        put(&mut store, pod("x", "Pending"));
        put(&mut store, pod("y", "Pending"));
        put(&mut store, pod("x", "Running"));
        store.remove(&Key::new("pods", "a", "y"));
        let seen: Vec<_> = store
            .changes_since(1, "pods", Some("a"))
            .unwrap()
            .into_iter()
            .map(|change| {
                (
                    change.version,
                    change.kind,
                    change.key.name.clone(),
                    version_of(&change.object),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (2, ChangeKind::Added, "y".to_owned(), 2),
                (3, ChangeKind::Modified, "x".to_owned(), 3),
                (4, ChangeKind::Deleted, "y".to_owned(), 4),
            ]
        );
        assert!(store.changes_since(4, "pods", None).unwrap().is_empty());
        assert!(store.changes_since(0, "nodes", None).unwrap().is_empty());
        assert!(
            store
                .changes_since(0, "pods", Some("b"))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn old_changes_expire_and_the_history_stays_bounded() {
        let mut store = Store::new(0, 3);
        for round in 0..10 {
            put(&mut store, pod("x", &round.to_string()));
        }
        assert_eq!(store.history.len(), 3);
        assert_eq!(
            store.changes_since(6, "pods", None).unwrap_err(),
            Expired { oldest: 7 }
        );
        assert_eq!(store.changes_since(7, "pods", None).unwrap().len(), 3);
    }

    #[test]
    fn lists_are_of_one_resource_and_one_namespace() {
        let mut store = Store::new(0, 8);
        put(&mut store, pod("y", ""));
        put(&mut store, pod("x", ""));
        store.put(Key::new("pods", "b", "z"), json!({"metadata": {}}));
        store.put(Key::new("podsets", "a", "w"), json!({"metadata": {}}));
        let names = |namespace| {
            store
                .list("pods", namespace)
                .map(|(key, _)| key.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(Some("a")), ["x", "y"]);
        assert_eq!(names(None), ["x", "y", "z"]);
    }

    #[test]
    fn a_restored_store_has_the_objects_and_goes_on_counting() {
        let mut store = Store::new(0, 8);
        put(&mut store, pod("x", "Running"));
        let mut restored = Store::restore(store.dump(), 8).unwrap();
        assert_eq!(
            restored.object(&Key::new("pods", "a", "x")),
            store.object(&Key::new("pods", "a", "x"))
        );
        assert_eq!(
            restored.changes_since(0, "pods", None).unwrap_err(),
            Expired { oldest: 1 }
        );
        assert_eq!(put(&mut restored, pod("y", "")), 2);
        assert!(Store::restore(json!({"version": 1, "objects": [{}]}), 8).is_none());
    }
}
