//! What the API adds to an object before it is stored, and what it refuses.

use serde_json::{Value, json};

use crate::api::World;
use crate::clock::Moment;
use crate::object;
use crate::resources::{CRDS, Resource};
use crate::selector::label_selector_matches;
use crate::status::ApiError;

pub(crate) fn create(
    world: &mut World,
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
    now: Moment,
) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the body of the request is not an object",
        ));
    }
    check_kind(resource, object)?;
    let given = object::namespace(object);
    if !given.is_empty() && given != namespace {
        let message = format!(
            "the namespace of the provided object does not match the namespace sent on the request ({given}, {namespace})"
        );
        return Err(ApiError::bad_request(message));
    }
    let prefix = object::text(object, "/metadata/generateName").to_owned();
    if object::name(object).is_empty() && !prefix.is_empty() {
        let name = format!("{prefix}{}", world.ids.suffix());
        object::set(object, &["metadata", "name"], json!(name));
    }
    check_name(resource, object::name(object))?;
    object::set(object, &["metadata", "uid"], json!(world.ids.uid()));
    object::set(
        object,
        &["metadata", "creationTimestamp"],
        json!(now.timestamp()),
    );
    for field in [
        "resourceVersion",
        "deletionTimestamp",
        "managedFields",
        "selfLink",
    ] {
        object::remove(object, "/metadata", field);
    }
    if resource.namespaced {
        object::set(object, &["metadata", "namespace"], json!(namespace));
    } else {
        object::remove(object, "/metadata", "namespace");
    }
    if object.get("spec").is_some() {
        object::set(object, &["metadata", "generation"], json!(1));
    }
    if resource.has("status") && resource.custom {
        object::remove(object, "", "status");
    }
    defaults(world, resource, object);
    validate(resource, object)
}

pub(crate) fn update(
    resource: &Resource,
    current: &Value,
    object: &mut Value,
) -> Result<(), ApiError> {
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the body of the request is not an object",
        ));
    }
    check_kind(resource, object)?;
    let name = object::name(current).to_owned();
    if object::name(object) != name {
        let why = "the name of the object does not match the name on the URL";
        return Err(ApiError::bad_request(format!(
            "{why} ({}, {name})",
            object::name(object)
        )));
    }
    for field in [
        "uid",
        "creationTimestamp",
        "namespace",
        "deletionTimestamp",
        "generation",
    ] {
        match current.pointer(&format!("/metadata/{field}")) {
            Some(kept) => object::set(object, &["metadata", field], kept.clone()),
            None => object::remove(object, "/metadata", field),
        }
    }
    if object.get("spec") != current.get("spec") {
        let generation = object::number(current, "/metadata/generation").unwrap_or(0);
        object::set(object, &["metadata", "generation"], json!(generation + 1));
    }
    if resource.group == "apps"
        && current.pointer("/spec/selector") != object.pointer("/spec/selector")
    {
        return Err(ApiError::invalid(
            resource,
            &name,
            "spec.selector",
            "field is immutable",
        ));
    }
    encode_string_data(resource, object);
    validate(resource, object)
}

fn check_kind(resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    let (kind, version) = (
        object::text(object, "/kind"),
        object::text(object, "/apiVersion"),
    );
    let matches = (kind.is_empty() || kind == resource.kind)
        && (version.is_empty() || version == resource.api_version());
    if !matches {
        let message = format!(
            "{version} {kind} in the body does not match the expected {} {}",
            resource.api_version(),
            resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    object::set(object, &["kind"], json!(resource.kind));
    object::set(object, &["apiVersion"], json!(resource.api_version()));
    Ok(())
}

/// DNS subdomain names; roles and the like may have colons too.
fn check_name(resource: &Resource, name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::invalid(
            resource,
            "",
            "metadata.name",
            "Required value: name or generateName is required",
        ));
    }
    let is_loose = resource.group == "rbac.authorization.k8s.io";
    let fits = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    let is_edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let is_strict =
        name.bytes().all(fits) && is_edge(name.bytes().next()) && is_edge(name.bytes().next_back());
    let is_path_safe = !name.contains(['/', '%']) && name != "." && name != "..";
    if name.len() > 253 || !(is_strict || is_loose && is_path_safe) {
        let why = format!("Invalid value: \"{name}\": a lowercase RFC 1123 subdomain is required");
        return Err(ApiError::invalid(resource, name, "metadata.name", &why));
    }
    Ok(())
}

fn defaults(world: &World, resource: &Resource, object: &mut Value) {
    encode_string_data(resource, object);
    match resource.id().as_str() {
        "namespaces" => {
            let name = object::name(object).to_owned();
            object::set(
                object,
                &["metadata", "labels", "kubernetes.io/metadata.name"],
                json!(name),
            );
            object::set(object, &["spec", "finalizers"], json!(["kubernetes"]));
            object::set(object, &["status"], json!({"phase": "Active"}));
        }
        "secrets" => object::default(object, &["type"], json!("Opaque")),
        "services" => service(world, object),
        "pods" => {
            pod_spec(object, &["spec"]);
            object::set(
                object,
                &["status"],
                json!({"phase": "Pending", "qosClass": "BestEffort"}),
            );
        }
        "deployments.apps" => {
            object::default(object, &["spec", "replicas"], json!(1));
            object::default(
                object,
                &["spec", "strategy", "type"],
                json!("RollingUpdate"),
            );
            if object::text(object, "/spec/strategy/type") == "RollingUpdate" {
                object::default(
                    object,
                    &["spec", "strategy", "rollingUpdate", "maxSurge"],
                    json!("25%"),
                );
                object::default(
                    object,
                    &["spec", "strategy", "rollingUpdate", "maxUnavailable"],
                    json!("25%"),
                );
            }
            object::default(object, &["spec", "revisionHistoryLimit"], json!(10));
            object::default(object, &["spec", "progressDeadlineSeconds"], json!(600));
            pod_spec(object, &["spec", "template", "spec"]);
            object::set(object, &["status"], json!({}));
        }
        "replicasets.apps" | "statefulsets.apps" => {
            object::default(object, &["spec", "replicas"], json!(1));
            pod_spec(object, &["spec", "template", "spec"]);
            object::set(object, &["status"], json!({"replicas": 0}));
        }
        "daemonsets.apps" => {
            object::default(
                object,
                &["spec", "updateStrategy"],
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
            );
            pod_spec(object, &["spec", "template", "spec"]);
            object::set(
                object,
                &["status"],
                json!({"currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0}),
            );
        }
        "jobs.batch" => {
            object::default(object, &["spec", "completions"], json!(1));
            object::default(object, &["spec", "parallelism"], json!(1));
            object::default(object, &["spec", "backoffLimit"], json!(6));
            pod_spec(object, &["spec", "template", "spec"]);
            object::set(object, &["status"], json!({}));
        }
        CRDS => {
            let kind = object::text(object, "/spec/names/kind").to_owned();
            object::default(
                object,
                &["spec", "names", "singular"],
                json!(kind.to_lowercase()),
            );
            object::default(
                object,
                &["spec", "names", "listKind"],
                json!(format!("{kind}List")),
            );
            object::set(
                object,
                &["status"],
                json!({"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}),
            );
        }
        _ => {}
    }
}

fn pod_spec(object: &mut Value, path: &[&str]) {
    let pointer = format!("/{}", path.join("/"));
    let Some(spec) = object.pointer_mut(&pointer) else {
        return;
    };
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        object::default(spec, &[field], value);
    }
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let image = object::text(container, "/image").to_owned();
            let is_pinned = image
                .rsplit('/')
                .next()
                .is_some_and(|last| last.contains(':') && !last.ends_with(":latest"));
            object::default(
                container,
                &["imagePullPolicy"],
                json!(if is_pinned { "IfNotPresent" } else { "Always" }),
            );
            object::default(container, &["resources"], json!({}));
            object::default(
                container,
                &["terminationMessagePath"],
                json!("/dev/termination-log"),
            );
            object::default(container, &["terminationMessagePolicy"], json!("File"));
            for port in container
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                object::default(port, &["protocol"], json!("TCP"));
            }
        }
    }
}

fn service(world: &World, object: &mut Value) {
    object::default(object, &["spec", "type"], json!("ClusterIP"));
    object::default(object, &["spec", "sessionAffinity"], json!("None"));
    for port in object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        object::default(port, &["protocol"], json!("TCP"));
        if let Some(number) = port.get("port").cloned() {
            object::default(port, &["targetPort"], number);
        }
    }
    if object::text(object, "/spec/type") != "ExternalName"
        && object::text(object, "/spec/clusterIP").is_empty()
    {
        let taken = |address: &str| {
            world
                .store
                .list("services", None)
                .any(|(_, service)| object::text(service, "/spec/clusterIP") == address)
        };
        let mut candidates =
            (1_u8..=254).flat_map(|third| (1_u8..=254).map(move |fourth| (third, fourth)));
        let free = candidates.find_map(|(third, fourth)| {
            let address = format!("{}.{third}.{fourth}", world.service_prefix);
            (!taken(&address)).then_some(address)
        });
        if let Some(address) = free {
            object::set(object, &["spec", "clusterIP"], json!(address));
        }
    }
    let address = object::text(object, "/spec/clusterIP").to_owned();
    if !address.is_empty() {
        object::set(object, &["spec", "clusterIPs"], json!([address]));
        object::default(object, &["spec", "ipFamilies"], json!(["IPv4"]));
        object::default(object, &["spec", "ipFamilyPolicy"], json!("SingleStack"));
    }
    object::set(object, &["status"], json!({"loadBalancer": {}}));
}

fn encode_string_data(resource: &Resource, object: &mut Value) {
    use base64::Engine;
    if resource.id() != "secrets" {
        return;
    }
    let Some(Value::Object(plain)) = object.get("stringData").cloned() else {
        return;
    };
    for (name, value) in &plain {
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        object::set(object, &["data", name], json!(encoded));
    }
    object::remove(object, "", "stringData");
}

fn validate(resource: &Resource, object: &Value) -> Result<(), ApiError> {
    let name = object::name(object).to_owned();
    let invalid = |field: &str, why: &str| Err(ApiError::invalid(resource, &name, field, why));
    let id = resource.id();
    if matches!(
        id.as_str(),
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps"
    ) {
        let Some(selector) = object.pointer("/spec/selector") else {
            return invalid("spec.selector", "Required value");
        };
        if !label_selector_matches(selector, object.pointer("/spec/template/metadata/labels")) {
            return invalid(
                "spec.template.metadata.labels",
                "Invalid value: `selector` does not match template `labels`",
            );
        }
        if object::number(object, "/spec/replicas").is_some_and(|replicas| replicas < 0) {
            return invalid(
                "spec.replicas",
                "Invalid value: must be greater than or equal to 0",
            );
        }
    }
    let containers = match id.as_str() {
        "pods" => Some("/spec/containers"),
        "deployments.apps" | "replicasets.apps" | "statefulsets.apps" | "daemonsets.apps"
        | "jobs.batch" => Some("/spec/template/spec/containers"),
        _ => None,
    };
    if let Some(pointer) = containers {
        if object::items(object, pointer).is_empty() {
            return invalid(&pointer[1..].replace('/', "."), "Required value");
        }
        for container in object::items(object, pointer) {
            if object::text(container, "/name").is_empty() {
                return invalid(
                    &format!("{}[].name", pointer[1..].replace('/', ".")),
                    "Required value",
                );
            }
        }
    }
    if id == CRDS {
        let expected = format!(
            "{}.{}",
            object::text(object, "/spec/names/plural"),
            object::text(object, "/spec/group")
        );
        if name != expected {
            return invalid(
                "metadata.name",
                &format!("Invalid value: \"{name}\": must be spec.names.plural+\".\"+spec.group"),
            );
        }
        if object::items(object, "/spec/versions").is_empty()
            || object::text(object, "/spec/names/kind").is_empty()
        {
            return invalid("spec.versions", "Required value");
        }
    }
    Ok(())
}
