//! POST, PUT, PATCH, DELETE, and the subresources.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answer, World, namespace_of, read};
use crate::admission;
use crate::clock::Moment;
use crate::object;
use crate::patch::{self, Kind};
use crate::protobuf;
use crate::request::{Form, Request, Target};
use crate::resources::Resource;
use crate::status::{self, ApiError};
use crate::store::{Key, version_of};
use crate::table;

pub(super) fn create(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    now: Moment,
) -> Result<Answer, ApiError> {
    let form = Form::of(request)?;
    let object = body(request)?;
    let created = insert(world, request, resource, target, None, object, now)?;
    Ok(Answer::Json {
        code: 201,
        body: table::shown(resource, &form, &created, now),
    })
}

fn insert(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    name: Option<&str>,
    mut object: Value,
    now: Moment,
) -> Result<Arc<Value>, ApiError> {
    let namespace = namespace_of(resource, target);
    if resource.namespaced {
        if namespace.is_empty() {
            return Err(ApiError::method_not_allowed());
        }
        let holder = Key::new("namespaces", "", namespace);
        if world.store.object(&holder).is_none() {
            let namespaces = crate::resources::find(&world.store, "", "v1", "namespaces")
                .ok_or_else(ApiError::no_such_path)?;
            return Err(ApiError::not_found(&namespaces, namespace));
        }
    }
    if let Some(name) = name {
        object::default(&mut object, &["metadata", "name"], json!(name));
    }
    admission::create(world, resource, namespace, &mut object, now)?;
    let key = Key::new(&resource.id(), namespace, object::name(&object));
    if world.store.object(&key).is_some() {
        return Err(ApiError::already_exists(resource, &key.name));
    }
    if is_dry_run(request) {
        return Ok(Arc::new(object));
    }
    Ok(world.store.put(key, object))
}

pub(super) fn replace(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    name: &str,
    now: Moment,
) -> Result<Answer, ApiError> {
    let form = Form::of(request)?;
    let key = Key::new(&resource.id(), namespace_of(resource, target), name);
    let current = current(world, resource, &key)?;
    let mut object = body(request)?;
    check_version(resource, &current, &object, name)?;
    keep_status(resource, &mut object, &current);
    let written = update(world, request, resource, &key, &current, object, now)?;
    Ok(Answer::ok(table::shown(resource, &form, &written, now)))
}

pub(super) fn patch(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    name: &str,
    now: Moment,
) -> Result<Answer, ApiError> {
    let form = Form::of(request)?;
    let (kind, patch) = patch_body(request)?;
    let key = Key::new(&resource.id(), namespace_of(resource, target), name);
    let Some(current) = world.store.object(&key).cloned() else {
        if kind != Kind::Apply {
            return Err(ApiError::not_found(resource, name));
        }
        let created = insert(world, request, resource, target, Some(name), patch, now)?;
        return Ok(Answer::Json {
            code: 201,
            body: table::shown(resource, &form, &created, now),
        });
    };
    let mut object = (*current).clone();
    apply(kind, &mut object, &patch, resource)?;
    check_version(resource, &current, &object, name)?;
    keep_status(resource, &mut object, &current);
    let written = update(world, request, resource, &key, &current, object, now)?;
    Ok(Answer::ok(table::shown(resource, &form, &written, now)))
}

pub(super) fn delete(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    name: &str,
    now: Moment,
) -> Result<Answer, ApiError> {
    let key = Key::new(&resource.id(), namespace_of(resource, target), name);
    let found = current(world, resource, &key)?;
    let options = if request.body.is_empty() {
        json!({})
    } else {
        body(request)?
    };
    let wanted_uid = object::text(&options, "/preconditions/uid");
    if !wanted_uid.is_empty() && wanted_uid != object::uid(&found) {
        let why =
            format!("the UID in the precondition ({wanted_uid}) does not match the UID in record");
        return Err(ApiError::conflict(resource, name, &why));
    }
    let is_dry_run = is_dry_run(request) || !object::items(&options, "/dryRun").is_empty();
    if !is_dry_run {
        let policy = match object::text(&options, "/propagationPolicy") {
            "" => request.parameter("propagationPolicy").unwrap_or_default(),
            policy => policy,
        };
        if policy == "Orphan" {
            orphan_dependents(world, object::uid(&found));
        }
        if let Some(terminating) = remove(world, &key, now) {
            return Ok(Answer::ok((*terminating).clone()));
        }
    }
    Ok(Answer::ok(status::success(
        resource,
        name,
        object::uid(&found),
    )))
}

pub(super) fn delete_collection(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    now: Moment,
) -> Result<Answer, ApiError> {
    if resource.namespaced && target.namespace.is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let selector = read::selector(request)?;
    let id = resource.id();
    let listed = world
        .store
        .list(&id, target.namespace)
        .filter(|(_, object)| selector.matches(object));
    let (keys, objects): (Vec<_>, Vec<_>) = listed
        .map(|(key, object)| (key.clone(), object.clone()))
        .unzip();
    if !is_dry_run(request) {
        for key in &keys {
            remove(world, key, now);
        }
    }
    let version = world.store.version().to_string();
    Ok(Answer::ok(table::list(
        resource,
        &Form::Plain,
        &objects,
        &version,
        now,
    )))
}

/// Removes an object, or only marks it while finalizers (or a namespace's contents) hold it.
fn remove(world: &mut World, key: &Key, now: Moment) -> Option<Arc<Value>> {
    let found = world.store.object(key)?.clone();
    let is_held =
        !object::items(&found, "/metadata/finalizers").is_empty() || key.resource == "namespaces";
    if !is_held {
        world.store.remove(key);
        return None;
    }
    let mut marked = (*found).clone();
    object::default(
        &mut marked,
        &["metadata", "deletionTimestamp"],
        json!(now.timestamp()),
    );
    if key.resource == "namespaces" {
        object::set(&mut marked, &["status", "phase"], json!("Terminating"));
    }
    Some(world.store.put(key.clone(), marked))
}

fn orphan_dependents(world: &mut World, owner: &str) {
    let owned = |object: &Value| {
        object::items(object, "/metadata/ownerReferences")
            .iter()
            .any(|reference| object::uid_of_reference(reference) == owner)
    };
    let dependents: Vec<_> = world
        .store
        .all()
        .filter(|(_, object)| owned(object))
        .map(|(key, object)| (key.clone(), (**object).clone()))
        .collect();
    for (key, mut dependent) in dependents {
        let kept: Vec<_> = object::items(&dependent, "/metadata/ownerReferences")
            .iter()
            .filter(|reference| object::uid_of_reference(reference) != owner)
            .cloned()
            .collect();
        object::set(
            &mut dependent,
            &["metadata", "ownerReferences"],
            Value::Array(kept),
        );
        world.store.put(key, dependent);
    }
}

pub(super) fn subresource(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    subresource: &str,
    now: Moment,
) -> Result<Answer, ApiError> {
    let name = target.name.ok_or_else(ApiError::no_such_path)?;
    let key = Key::new(&resource.id(), namespace_of(resource, target), name);
    let found = current(world, resource, &key)?;
    match (subresource, request.method.as_str()) {
        ("log", _) => Err(ApiError::not_supported("reading a container's log")),
        ("exec", _) => Err(ApiError::not_supported("running a command in a container")),
        ("attach", _) => Err(ApiError::not_supported("attaching to a container")),
        ("portforward", _) => Err(ApiError::not_supported("forwarding a port to a pod")),
        ("eviction", "POST") => {
            remove(world, &key, now);
            let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
            Ok(Answer::Json { code: 201, body })
        }
        ("scale", "GET") => Ok(Answer::ok(scale_of(&found))),
        ("scale", "PUT" | "PATCH") => {
            let mut scale = scale_of(&found);
            if request.method == "PUT" {
                scale = body(request)?;
            } else {
                let (kind, patch) = patch_body(request)?;
                apply(kind, &mut scale, &patch, resource)?;
            }
            check_version(resource, &found, &scale, name)?;
            let replicas = object::number(&scale, "/spec/replicas").unwrap_or(0);
            let mut object = (*found).clone();
            object::set(&mut object, &["spec", "replicas"], json!(replicas));
            Ok(Answer::ok(scale_of(&*update(
                world, request, resource, &key, &found, object, now,
            )?)))
        }
        ("status" | "finalize", "GET") => Ok(Answer::ok((*found).clone())),
        ("status" | "finalize", "PUT" | "PATCH") => {
            let mut given = (*found).clone();
            if request.method == "PUT" {
                given = body(request)?;
            } else {
                let (kind, patch) = patch_body(request)?;
                apply(kind, &mut given, &patch, resource)?;
            }
            check_version(resource, &found, &given, name)?;
            let part = if subresource == "status" {
                "status"
            } else {
                "spec"
            };
            let mut object = (*found).clone();
            object::set(
                &mut object,
                &[part],
                given.get(part).cloned().unwrap_or_else(|| json!({})),
            );
            let written = update(world, request, resource, &key, &found, object, now)?;
            Ok(Answer::ok((*written).clone()))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn scale_of(object: &Value) -> Value {
    let labels = object
        .pointer("/spec/selector/matchLabels")
        .and_then(Value::as_object);
    let selector: Vec<_> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": object::name(object),
            "namespace": object::namespace(object),
            "uid": object::uid(object),
            "resourceVersion": version_of(object).to_string(),
            "creationTimestamp": object::text(object, "/metadata/creationTimestamp"),
        },
        "spec": {"replicas": object::number(object, "/spec/replicas").unwrap_or(0)},
        "status": {"replicas": object::number(object, "/status/replicas").unwrap_or(0), "selector": selector.join(",")},
    })
}

fn update(
    world: &mut World,
    request: &Request,
    resource: &Resource,
    key: &Key,
    current: &Value,
    mut object: Value,
    now: Moment,
) -> Result<Arc<Value>, ApiError> {
    admission::update(resource, current, &mut object)?;
    if is_dry_run(request) {
        return Ok(Arc::new(object));
    }
    let is_released = object::is_terminating(&object)
        && object::items(&object, "/metadata/finalizers").is_empty()
        && key.resource != "namespaces";
    let written = world.store.put(key.clone(), object);
    if is_released {
        remove(world, key, now);
    }
    Ok(written)
}

fn current(world: &World, resource: &Resource, key: &Key) -> Result<Arc<Value>, ApiError> {
    world
        .store
        .object(key)
        .cloned()
        .ok_or_else(|| ApiError::not_found(resource, &key.name))
}

/// Kinds with a status subresource take no status from the object itself.
fn keep_status(resource: &Resource, object: &mut Value, current: &Value) {
    if !resource.has("status") {
        return;
    }
    match current.get("status") {
        Some(status) => object::set(object, &["status"], status.clone()),
        None => object::remove(object, "", "status"),
    }
}

fn check_version(
    resource: &Resource,
    current: &Value,
    given: &Value,
    name: &str,
) -> Result<(), ApiError> {
    let stale = match version_of(given) {
        0 => false,
        version => version != version_of(current),
    };
    if stale {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(ApiError::conflict(resource, name, why));
    }
    Ok(())
}

fn apply(
    kind: Kind,
    object: &mut Value,
    patch: &Value,
    resource: &Resource,
) -> Result<(), ApiError> {
    if kind == Kind::Strategic && resource.custom {
        return Err(ApiError::unsupported_media_type(
            "application/strategic-merge-patch+json",
        ));
    }
    patch::apply(kind, object, patch).map_err(|error| ApiError::bad_request(error.to_string()))
}

fn patch_body(request: &Request) -> Result<(Kind, Value), ApiError> {
    let kind = Kind::of(&request.content_type)
        .ok_or_else(|| ApiError::unsupported_media_type(&request.content_type))?;
    let patch = if kind == Kind::Apply {
        yaml(&request.body)?
    } else {
        json_value(&request.body)?
    };
    Ok((kind, patch))
}

pub(super) fn body(request: &Request) -> Result<Value, ApiError> {
    let object = match request
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
    {
        "" | "application/json" => json_value(&request.body)?,
        "application/yaml" => yaml(&request.body)?,
        "application/vnd.kubernetes.protobuf" => protobuf::decode(&request.body)
            .map_err(|error| ApiError::bad_request(error.to_string()))?,
        other => return Err(ApiError::unsupported_media_type(other)),
    };
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the body of the request is not an object",
        ));
    }
    Ok(object)
}

fn json_value(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is not valid JSON: {error}")))
}

fn yaml(bytes: &[u8]) -> Result<Value, ApiError> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("the body is not valid YAML: {error}")))
}

fn is_dry_run(request: &Request) -> bool {
    request.parameter("dryRun") == Some("All")
}
