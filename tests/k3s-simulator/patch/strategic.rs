//! Strategic merge: like a merge patch, but lists of named things are merged by their key.

use serde_json::{Map, Value};

const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Merges `patch` into `object`; the directives `$patch`, `$retainKeys` and the list directives are obeyed.
pub(super) fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if patch.get("$patch").and_then(Value::as_str) == Some("replace") || !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(retained)) = patch.get("$retainKeys") {
        fields.retain(|name, _| retained.iter().any(|kept| kept.as_str() == Some(name)));
    }
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM_LIST) {
            delete_from_list(fields, list, value);
        } else if name.starts_with('$') {
            continue;
        } else if value.is_null() {
            fields.remove(name);
        } else if let Value::Array(items) = value {
            let list = fields
                .entry(name.as_str())
                .or_insert_with(|| Value::Array(Vec::new()));
            merge_list(name, list, items);
        } else {
            merge(fields.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
    for (name, order) in patch {
        if let (Some(list), Value::Array(order)) = (name.strip_prefix(ELEMENT_ORDER), order) {
            reorder(fields, list, order);
        }
    }
}

fn merge_list(name: &str, list: &mut Value, patch: &[Value]) {
    let primitives = patch
        .iter()
        .all(|item| !item.is_object() && !item.is_array());
    let Some(present) = list.as_array_mut() else {
        *list = Value::Array(without_directives(patch));
        return;
    };
    if primitives && name == "finalizers" {
        for item in patch {
            if !present.contains(item) {
                present.push(item.clone());
            }
        }
        return;
    }
    let replaces = patch
        .iter()
        .any(|item| item.get("$patch").and_then(Value::as_str) == Some("replace"));
    let Some(key) = merge_key(name, patch).filter(|_| !replaces) else {
        *present = without_directives(patch);
        return;
    };
    for item in patch {
        let identity = item.get(key);
        let at = present
            .iter()
            .position(|other| identity.is_some() && other.get(key) == identity);
        let deletes = item.get("$patch").and_then(Value::as_str) == Some("delete");
        match (at, deletes) {
            (Some(at), true) => {
                present.remove(at);
            }
            (Some(at), false) => merge(&mut present[at], item),
            (None, true) => {}
            (None, false) => {
                let mut added = Value::Null;
                merge(&mut added, item);
                present.push(added);
            }
        }
    }
}

/// The field that names the items of a list, where Kubernetes merges it and does not replace it.
fn merge_key(list: &str, items: &[Value]) -> Option<&'static str> {
    let all_have = |key: &str| {
        items
            .iter()
            .all(|item| item.get(key).is_some() || item.get("$patch").is_some())
    };
    match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets" => Some("name"),
        "ports" if all_have("containerPort") => Some("containerPort"),
        "ports" if all_have("port") => Some("port"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "conditions" | "addresses" => Some("type"),
        "ownerReferences" => Some("uid"),
        "hostAliases" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "taints" => Some("key"),
        _ => None,
    }
}

fn without_directives(items: &[Value]) -> Vec<Value> {
    items
        .iter()
        .filter(|item| item.get("$patch").is_none())
        .cloned()
        .collect()
}

fn delete_from_list(fields: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let (Some(Value::Array(present)), Value::Array(gone)) = (fields.get_mut(list), gone) {
        present.retain(|item| !gone.contains(item));
    }
}

/// Items that the order does not name keep their places behind the named ones.
fn reorder(fields: &mut Map<String, Value>, list: &str, order: &[Value]) {
    let Some(Value::Array(present)) = fields.get_mut(list) else {
        return;
    };
    let key = merge_key(list, order);
    present.sort_by_key(|item| {
        let same = |wanted: &Value| match key {
            Some(key) => item.get(key) == wanted.get(key),
            None => item == wanted,
        };
        order.iter().position(same).unwrap_or(order.len())
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut object: Value, patch: &Value) -> Value {
        merge(&mut object, patch);
        object
    }

    #[test]
    fn containers_are_merged_by_name_and_ordered() {
        let object = json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]});
        let patch = json!({
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "c"}],
        });
        assert_eq!(
            merged(object, &patch),
            json!({"containers": [{"name": "c"}, {"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}]}]})
        );
    }

    #[test]
    fn other_lists_are_replaced() {
        assert_eq!(
            merged(json!({"args": ["a", "b"]}), &json!({"args": ["c"]})),
            json!({"args": ["c"]})
        );
        let tolerations = json!({"tolerations": [{"key": "a"}]});
        assert_eq!(
            merged(tolerations, &json!({"tolerations": [{"key": "b"}]})),
            json!({"tolerations": [{"key": "b"}]})
        );
    }

    #[test]
    fn directives_do_what_they_say() {
        assert_eq!(
            merged(
                json!({"strategy": {"type": "A", "rollingUpdate": {}}}),
                &json!({"strategy": {"$retainKeys": ["type"], "type": "B"}})
            ),
            json!({"strategy": {"type": "B"}})
        );
        assert_eq!(
            merged(
                json!({"finalizers": ["a", "b"]}),
                &json!({"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]})
            ),
            json!({"finalizers": ["b", "c"]})
        );
        assert_eq!(
            merged(
                json!({"m": {"a": 1}}),
                &json!({"m": {"$patch": "replace", "b": 2}})
            ),
            json!({"m": {"b": 2}})
        );
        assert_eq!(
            merged(json!({"m": {"a": 1}}), &json!({"m": {"a": null}})),
            json!({"m": {}})
        );
    }
}
