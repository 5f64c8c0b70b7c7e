//! Entries in a kubeconfig document, put in and taken out. Pure.
//!
//! Each of our entries has an extension with our mark. The one of the context also records what
//! was there before, so that taking the entry out restores it.

use thiserror::Error;

use super::{
    super::{Entry, document, node::Node},
    After,
};
use crate::config::ClusterName;

/// Name of the extension that marks an entry as ours.
const MARK: &str = "lkc";
/// The lists of a kubeconfig with what their items are.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("users", "user"),
    ("contexts", "context"),
];
const CURRENT: &str = "current-context";

/// Why an entry cannot be put in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EditError {
    /// Somebody else's entry has the name.
    #[error("it has a {what} `{name}` that is not lkc's")]
    Foreign {
        /// `cluster`, `user` or `context`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The document is not a kubeconfig.
    #[error("{what} in it is not {expected}")]
    Shape {
        /// `clusters`, for one.
        what: &'static str,
        /// `a list`, for one.
        expected: &'static str,
    },
}

/// Puts `entry` in, or brings the one that is there up to date.
pub(super) fn insert(
    document: &mut Node,
    entry: &Entry,
    make_current: bool,
    file_existed: bool,
) -> Result<(), EditError> {
    let name = entry.cluster().as_str();
    let known = Record::of(document, name);
    let is_new = known.is_none();
    let mut record = known.unwrap_or_default();
    if !file_existed {
        record.note_absent("file");
    }
    match document {
        Node::Map(entries) if entries.is_empty() => {
            for (key, value) in [("apiVersion", "v1"), ("kind", "Config")] {
                record.note_absent(key);
                document.set(key, Node::text(value));
            }
        }
        Node::Map(_) => {}
        _ => {
            return Err(EditError::Shape {
                what: "the document",
                expected: "a map",
            });
        }
    }
    for (list, what) in LISTS {
        refuse_foreign(document, list, what, name)?;
        if document
            .value(list)
            .is_none_or(|value| *value == Node::Null)
        {
            record.note(document, list);
            document.set(list, Node::List(Vec::new()));
        }
    }
    let is_current = document.value(CURRENT).and_then(Node::as_text) == Some(name);
    if make_current && !is_current {
        record.note(document, CURRENT);
        document.set(CURRENT, Node::text(name));
    } else if is_new && is_current {
        // It led nowhere, but it is the user's.
        record.note(document, CURRENT);
    }
    put(
        document,
        "clusters",
        name,
        "cluster",
        marked(document::cluster(entry), Vec::new()),
    );
    put(
        document,
        "users",
        name,
        "user",
        marked(document::user(entry), Vec::new()),
    );
    let mut context = document::context(entry);
    if let Some(namespace) = namespace(document, name) {
        context.set("namespace", namespace);
    }
    put(
        document,
        "contexts",
        name,
        "context",
        marked(context, record.to_entries()),
    );
    Ok(())
}

/// Takes our entries for `cluster` out.
pub(super) fn remove(document: &mut Node, cluster: &ClusterName) -> After {
    let name = cluster.as_str();
    let record = Record::of(document, name);
    let was_ours = record.is_some();
    let record = record.unwrap_or_default();
    for (list, what) in LISTS {
        if let Some(items) = items_mut(document, list) {
            let before = items.len();
            items.retain(|item| !is_named(item, name) || mark_of(item, what).is_none());
            if items.len() < before && items.is_empty() {
                record.restore(document, list);
            }
        }
    }
    if was_ours && document.value(CURRENT).and_then(Node::as_text) == Some(name) {
        document.set(CURRENT, Node::text(""));
        record.restore(document, CURRENT);
    }
    let made = |key: &str| record.absent.iter().any(|absent| absent == key);
    if let Node::Map(entries) = document
        && entries.iter().all(|(key, _)| made(key))
    {
        entries.clear();
        if made("file") {
            return After::Remove;
        }
    }
    After::Keep
}

/// What was there before us.
#[derive(Debug, Default)]
struct Record {
    /// Keys of the document that were not there, or `file`.
    absent: Vec<String>,
    /// Values that were replaced.
    before: Vec<(String, Node)>,
}

impl Record {
    /// The record in our context, if that is there.
    fn of(document: &Node, name: &str) -> Option<Self> {
        let contexts = document.value("contexts")?.as_list()?;
        let mark = contexts.iter().find(|item| is_named(item, name))?;
        let mark = mark_of(mark, "context")?;
        let absent = mark
            .value("absent")
            .and_then(Node::as_list)
            .unwrap_or_default();
        let before = match mark.value("before") {
            Some(Node::Map(entries)) => entries.clone(),
            _ => Vec::new(),
        };
        let absent = absent
            .iter()
            .filter_map(Node::as_text)
            .map(str::to_owned)
            .collect();
        Some(Self { absent, before })
    }

    fn note_absent(&mut self, key: &str) {
        if !self.absent.iter().any(|noted| noted == key) {
            self.absent.push(key.to_owned());
        }
    }

    /// Notes what a key of the document holds, unless that was done before.
    fn note(&mut self, document: &Node, key: &str) {
        match document.value(key) {
            None => self.note_absent(key),
            Some(value) => {
                if !self.before.iter().any(|(noted, _)| noted == key) {
                    self.before.push((key.to_owned(), value.clone()));
                }
            }
        }
    }

    fn restore(&self, document: &mut Node, key: &str) {
        if let Some((_, value)) = self.before.iter().find(|(noted, _)| noted == key) {
            document.set(key, value.clone());
        } else if self.absent.iter().any(|noted| noted == key) {
            document.unset(key);
        }
    }

    fn to_entries(&self) -> Vec<(String, Node)> {
        let mut entries = Vec::new();
        if !self.absent.is_empty() {
            let absent = self.absent.iter().map(Node::text).collect();
            entries.push(("absent".to_owned(), Node::List(absent)));
        }
        if !self.before.is_empty() {
            entries.push(("before".to_owned(), Node::Map(self.before.clone())));
        }
        entries
    }
}

fn refuse_foreign(
    document: &Node,
    list: &'static str,
    what: &'static str,
    name: &str,
) -> Result<(), EditError> {
    let items = match document.value(list) {
        None | Some(Node::Null) => return Ok(()),
        Some(Node::List(items)) => items,
        Some(_) => {
            return Err(EditError::Shape {
                what: list,
                expected: "a list",
            });
        }
    };
    let mut named = items.iter().filter(|item| is_named(item, name));
    if named.any(|item| mark_of(item, what).is_none()) {
        return Err(EditError::Foreign {
            what,
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// The namespace that the user has set in our context.
fn namespace(document: &Node, name: &str) -> Option<Node> {
    let contexts = document.value("contexts")?.as_list()?;
    let context = contexts.iter().find(|item| is_named(item, name))?;
    context.value("context")?.value("namespace").cloned()
}

fn put(document: &mut Node, list: &str, name: &str, what: &str, body: Node) {
    if let Some(items) = items_mut(document, list) {
        let item = Node::map([("name", Node::text(name)), (what, body)]);
        match items.iter_mut().find(|item| is_named(item, name)) {
            Some(old) => *old = item,
            None => items.push(item),
        }
    }
}

fn marked(mut body: Node, record: Vec<(String, Node)>) -> Node {
    let mut extension = vec![("managed-by".to_owned(), Node::text("lkc-host"))];
    extension.extend(record);
    let mark = Node::map([
        ("name", Node::text(MARK)),
        ("extension", Node::Map(extension)),
    ]);
    body.set("extensions", Node::List(vec![mark]));
    body
}

/// The content of our mark in an item of a list.
fn mark_of<'n>(item: &'n Node, what: &str) -> Option<&'n Node> {
    let extensions = item.value(what)?.value("extensions")?.as_list()?;
    extensions
        .iter()
        .find(|extension| is_named(extension, MARK))?
        .value("extension")
}

fn is_named(item: &Node, name: &str) -> bool {
    item.value("name").and_then(Node::as_text) == Some(name)
}

fn items_mut<'n>(document: &'n mut Node, list: &str) -> Option<&'n mut Vec<Node>> {
    let Node::Map(entries) = document else {
        return None;
    };
    entries
        .iter_mut()
        .find(|(key, _)| key == list)
        .and_then(|(_, value)| match value {
            Node::List(items) => Some(items),
            _ => None,
        })
}
