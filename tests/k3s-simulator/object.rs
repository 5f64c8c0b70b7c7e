//! Reading and writing Kubernetes objects that are kept as JSON.

use serde_json::{Map, Value, json};

/// The text at a JSON pointer, or the empty string.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

pub(crate) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn is_terminating(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null())
}

/// Sets the value at a path of names, making the objects on the way (and replacing what is none).
pub(crate) fn set(object: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = object;
    for name in parents {
        at = object_in(at).entry(*name).or_insert_with(|| json!({}));
    }
    object_in(at).insert((*last).to_owned(), value);
}

/// Sets the value at a path only when there is none.
pub(crate) fn default(object: &mut Value, path: &[&str], value: Value) {
    let present = path
        .iter()
        .try_fold(&*object, |at, name| at.get(*name))
        .is_some_and(|found| !found.is_null());
    if !present {
        set(object, path, value);
    }
}

pub(crate) fn remove(object: &mut Value, parent: &str, name: &str) {
    if let Some(parent) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.remove(name);
    }
}

fn object_in(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("the value was made an object above"),
    }
}

/// The uid of the controller that owns an object.
pub(crate) fn controller_uid(object: &Value) -> Option<&str> {
    items(object, "/metadata/ownerReferences")
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))
        .map(|owner| text(owner, "/uid"))
}

/// The owner's uid in one entry of `metadata.ownerReferences`.
pub(crate) fn uid_of_reference(reference: &Value) -> &str {
    text(reference, "/uid")
}

pub(crate) fn owner_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": text(owner, "/apiVersion"),
        "kind": text(owner, "/kind"),
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == kind)
}

pub(crate) fn condition_is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "/status") == "True")
}

/// Writes a condition; the transition time moves only when the status does.
pub(crate) fn set_condition(
    object: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    at: &str,
) {
    let before = condition(object, kind);
    let transition = match before {
        Some(before) if text(before, "/status") == status => {
            text(before, "/lastTransitionTime").to_owned()
        }
        _ => at.to_owned(),
    };
    let mut written = before.cloned().unwrap_or_else(|| json!({"type": kind}));
    for (field, value) in [
        ("status", status),
        ("reason", reason),
        ("message", message),
        ("lastTransitionTime", &transition),
    ] {
        if value.is_empty() {
            remove(&mut written, "", field);
        } else {
            set(&mut written, &[field], json!(value));
        }
    }
    let mut conditions = items(object, "/status/conditions").to_vec();
    match conditions
        .iter_mut()
        .find(|condition| text(condition, "/type") == kind)
    {
        Some(condition) => *condition = written,
        None => conditions.push(written),
    }
    set(object, &["status", "conditions"], Value::Array(conditions));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_on_the_way() {
        let mut object = json!({"spec": 3});
        set(&mut object, &["spec", "a", "b"], json!(1));
        default(&mut object, &["spec", "a", "b"], json!(2));
        default(&mut object, &["status"], json!({}));
        assert_eq!(object, json!({"spec": {"a": {"b": 1}}, "status": {}}));
    }

    #[test]
    fn a_condition_keeps_its_transition_time_until_its_status_changes() {
        let mut object = json!({});
        set_condition(&mut object, "Ready", "False", "A", "m", "1");
        set_condition(&mut object, "Ready", "False", "B", "", "2");
        assert_eq!(
            condition(&object, "Ready").unwrap(),
            &json!({"type": "Ready", "status": "False", "reason": "B", "lastTransitionTime": "1"})
        );
        set_condition(&mut object, "Ready", "True", "C", "", "3");
        assert!(condition_is_true(&object, "Ready"));
        assert_eq!(
            text(condition(&object, "Ready").unwrap(), "/lastTransitionTime"),
            "3"
        );
    }
}
