//! Schemas, as many as make a client's validation pass: every kind is an object with any fields.
//!
//! What matters to kubectl is that each kind has a PATCH that takes `fieldValidation` (the server
//! validates) and that no strategic merge is described (kubectl then uses the one it was built with).

use serde_json::{Map, Value, json};

use crate::ids::short_hash;
use crate::resources::Resource;
use crate::version;

/// OpenAPI v2 without definitions. Old clients decode whatever comes as protobuf, so they get that.
/// The answer's media type has a dot where the request's has an `@`, which Go does not parse.
pub(crate) fn v2(accept: &str) -> (&'static str, Vec<u8>) {
    if accept.contains("proto-openapi.spec.v2") {
        return (
            "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            v2_protobuf(),
        );
    }
    let document = json!({
        "swagger": "2.0",
        "info": {"title": TITLE, "version": version::KUBERNETES},
        "paths": {},
        "definitions": {},
    });
    ("application/json", document.to_string().into_bytes())
}

const TITLE: &str = "Kubernetes (k3s simulator)";

/// `Document { swagger = 1, info = 2: Info { title = 1, version = 2 } }`.
fn v2_protobuf() -> Vec<u8> {
    let mut info = Vec::new();
    push_field(&mut info, 1, TITLE.as_bytes());
    push_field(&mut info, 2, version::KUBERNETES.as_bytes());
    let mut document = Vec::new();
    push_field(&mut document, 1, b"2.0");
    push_field(&mut document, 2, &info);
    document
}

/// A length-delimited field; all of ours are shorter than 128 bytes, so the length is one byte.
fn push_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let length = u8::try_from(bytes.len())
        .ok()
        .filter(|&length| length < 128);
    debug_assert!(length.is_some(), "a longer field needs a varint");
    message.push(number << 3 | 2);
    message.push(length.unwrap_or(0));
    message.extend_from_slice(bytes);
}

pub(crate) fn v3_index(resources: &[Resource]) -> Value {
    let mut paths = Map::new();
    for resource in resources {
        let path = group_version_path(resource);
        if paths.contains_key(&path) {
            continue;
        }
        let hash = v3(resources, &path)
            .map(|document| short_hash(&document.to_string()))
            .unwrap_or_default();
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

/// The document of one group version, such as `api/v1` or `apis/apps/v1`.
pub(crate) fn v3(resources: &[Resource], group_version: &str) -> Option<Value> {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for resource in resources
        .iter()
        .filter(|resource| group_version_path(resource) == group_version)
    {
        let kind =
            json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let schema_name = schema_name(resource);
        let schema = json!({"$ref": format!("#/components/schemas/{schema_name}")});
        let prefix = if resource.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let collection = format!("/{group_version}/{prefix}{}", resource.plural);
        paths.insert(collection.clone(), json!({"post": operation(&kind, "post", &schema, &["*/*"]), "get": operation(&kind, "list", &schema, &[])}));
        let patches = [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ];
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({
                "get": operation(&kind, "get", &schema, &[]),
                "put": operation(&kind, "put", &schema, &["*/*"]),
                "patch": operation(&kind, "patch", &schema, &patches),
                "delete": operation(&kind, "delete", &schema, &[]),
            }),
        );
        schemas.insert(
            schema_name,
            json!({
                "description": format!("{} as the k3s simulator keeps it: any fields, none described.", resource.kind),
                "type": "object",
                "properties": {
                    "apiVersion": {"type": "string", "description": "The group and version of this kind."},
                    "kind": {"type": "string", "description": "The name of this kind."},
                    "metadata": {"type": "object", "description": "Name, namespace, labels and the like.", "x-kubernetes-preserve-unknown-fields": true},
                },
                "x-kubernetes-preserve-unknown-fields": true,
                "x-kubernetes-group-version-kind": [kind],
            }),
        );
    }
    (!paths.is_empty()).then(|| {
        json!({
            "openapi": "3.0.0",
            "info": {"title": TITLE, "version": version::KUBERNETES},
            "paths": paths,
            "components": {"schemas": schemas},
        })
    })
}

fn operation(kind: &Value, action: &str, schema: &Value, media_types: &[&str]) -> Value {
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let mut operation = json!({
        "parameters": [query("dryRun"), query("fieldManager"), query("fieldValidation")],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind,
    });
    if !media_types.is_empty() {
        let content: Map<_, _> = media_types
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": schema})))
            .collect();
        operation["requestBody"] = json!({"content": content});
    }
    operation
}

fn group_version_path(resource: &Resource) -> String {
    if resource.group.is_empty() {
        format!("api/{}", resource.version)
    } else {
        format!("apis/{}", resource.api_version())
    }
}

fn schema_name(resource: &Resource) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        &resource.group
    };
    format!(
        "io.k3s-simulator.{group}.{}.{}",
        resource.version, resource.kind
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;

    #[test]
    fn every_kind_has_a_patch_that_takes_field_validation_and_no_strategic_merge() {
        let resources = resources::all(&Store::new(0, 1));
        for resource in &resources {
            let document = v3(&resources, &group_version_path(resource)).unwrap();
            let patch = document["paths"]
                .as_object()
                .unwrap()
                .values()
                .find_map(|path| {
                    let patch = path.get("patch")?;
                    (patch["x-kubernetes-group-version-kind"]["kind"] == resource.kind.as_str())
                        .then_some(patch)
                });
            let patch = patch.unwrap().to_string();
            assert!(
                patch.contains("\"fieldValidation\"") && !patch.contains("strategic"),
                "{}",
                resource.kind
            );
        }
        assert!(v3(&resources, "apis/none/v1").is_none());
    }

    #[test]
    fn the_old_document_is_given_in_both_encodings() {
        assert!(v2("application/json").1.starts_with(b"{"));
        let (content_type, body) = v2("application/com.github.proto-openapi.spec.v2@v1.0+protobuf");
        assert!(content_type.ends_with("+protobuf"));
        assert!(body.starts_with(b"\x0a\x032.0\x12"));
    }
}
