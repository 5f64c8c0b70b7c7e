//! The four kinds of patch: JSON patch, merge patch, strategic merge patch, and server-side apply.
//!
//! Apply is create-or-merge: there are no field managers, so a field that a later apply leaves out stays.

use serde_json::{Map, Value};

mod strategic;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Kind {
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        Some(
            match content_type.split(';').next().unwrap_or_default().trim() {
                "application/json-patch+json" => Self::Json,
                "application/merge-patch+json" => Self::Merge,
                "application/strategic-merge-patch+json" => Self::Strategic,
                "application/apply-patch+yaml" => Self::Apply,
                _ => return None,
            },
        )
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PatchError {
    #[error("a JSON patch is a list of operations")]
    NotAList,
    #[error("operation {index} of the JSON patch cannot be applied: {reason}")]
    Operation { index: usize, reason: &'static str },
}

pub(crate) fn apply(kind: Kind, object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    match kind {
        Kind::Json => json_patch(object, patch)?,
        Kind::Merge => merge(object, patch),
        Kind::Strategic | Kind::Apply => strategic::merge(object, patch),
    }
    Ok(())
}

/// RFC 7386.
fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}

/// RFC 6902.
fn json_patch(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    let operations = patch.as_array().ok_or(PatchError::NotAList)?;
    for (index, operation) in operations.iter().enumerate() {
        one_operation(object, operation)
            .map_err(|reason| PatchError::Operation { index, reason })?;
    }
    Ok(())
}

fn one_operation(object: &mut Value, operation: &Value) -> Result<(), &'static str> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let path = text("path").ok_or("it has no path")?;
    let value = || operation.get("value").cloned().ok_or("it has no value");
    match text("op").ok_or("it has no op")? {
        "add" => insert(object, path, value()?),
        "remove" => take(object, path).map(drop),
        "replace" => {
            *object.pointer_mut(path).ok_or("its path does not exist")? = value()?;
            Ok(())
        }
        "move" => {
            let moved = take(object, text("from").ok_or("it has no from")?)?;
            insert(object, path, moved)
        }
        "copy" => {
            let from = text("from").ok_or("it has no from")?;
            let copied = object
                .pointer(from)
                .cloned()
                .ok_or("its from does not exist")?;
            insert(object, path, copied)
        }
        "test" => {
            let same = object.pointer(path) == Some(&value()?);
            same.then_some(()).ok_or("its test failed")
        }
        _ => Err("its op is unknown"),
    }
}

fn insert(object: &mut Value, path: &str, value: Value) -> Result<(), &'static str> {
    if path.is_empty() {
        *object = value;
        return Ok(());
    }
    let (parent, last) = split_pointer(path)?;
    match object
        .pointer_mut(parent)
        .ok_or("its path does not exist")?
    {
        Value::Object(fields) => {
            fields.insert(last, value);
            Ok(())
        }
        Value::Array(items) => {
            let at = if last == "-" {
                items.len()
            } else {
                last.parse().map_err(|_| "its index is no number")?
            };
            if at > items.len() {
                return Err("its index is beyond the end");
            }
            items.insert(at, value);
            Ok(())
        }
        _ => Err("its path leads through a scalar"),
    }
}

fn take(object: &mut Value, path: &str) -> Result<Value, &'static str> {
    let (parent, last) = split_pointer(path)?;
    match object
        .pointer_mut(parent)
        .ok_or("its path does not exist")?
    {
        Value::Object(fields) => fields.remove(&last).ok_or("its path does not exist"),
        Value::Array(items) => {
            let at: usize = last.parse().map_err(|_| "its index is no number")?;
            if at >= items.len() {
                return Err("its index is beyond the end");
            }
            Ok(items.remove(at))
        }
        _ => Err("its path leads through a scalar"),
    }
}

fn split_pointer(path: &str) -> Result<(&str, String), &'static str> {
    let (parent, last) = path
        .rsplit_once('/')
        .ok_or("its path does not begin with a slash")?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_removes_with_null_and_replaces_lists() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "list": [1, 2]});
        apply(
            Kind::Merge,
            &mut object,
            &json!({"a": {"b": null, "d": {"e": 3}}, "list": [3]}),
        )
        .unwrap();
        assert_eq!(object, json!({"a": {"c": 2, "d": {"e": 3}}, "list": [3]}));
    }

    #[test]
    fn json_patches_do_each_operation() {
        let mut object = json!({"a": [1, 3], "b/c": 1});
        let patch = json!([
            {"op": "add", "path": "/a/1", "value": 2},
            {"op": "add", "path": "/a/-", "value": 4},
            {"op": "test", "path": "/b~1c", "value": 1},
            {"op": "move", "from": "/b~1c", "path": "/d"},
            {"op": "copy", "from": "/d", "path": "/e"},
            {"op": "replace", "path": "/e", "value": 5},
            {"op": "remove", "path": "/a/0"},
        ]);
        apply(Kind::Json, &mut object, &patch).unwrap();
        assert_eq!(object, json!({"a": [2, 3, 4], "d": 1, "e": 5}));
    }

    #[test]
    fn a_bad_json_patch_says_which_operation() {
        for (patch, message) in [
            (json!({}), "a JSON patch is a list of operations"),
            (
                json!([{"op": "remove", "path": "/x"}]),
                "operation 0 of the JSON patch cannot be applied: its path does not exist",
            ),
            (
                json!([{"op": "add", "path": "/a/9", "value": 1}]),
                "operation 0 of the JSON patch cannot be applied: its index is beyond the end",
            ),
            (
                json!([{"op": "test", "path": "/a", "value": 1}]),
                "operation 0 of the JSON patch cannot be applied: its test failed",
            ),
        ] {
            let mut object = json!({"a": []});
            assert_eq!(
                apply(Kind::Json, &mut object, &patch)
                    .unwrap_err()
                    .to_string(),
                message
            );
        }
    }
}
