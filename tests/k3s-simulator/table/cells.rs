//! The columns of the built-in kinds, as kubectl users know them.

use serde_json::{Value, json};

use super::{age, age_since};
use crate::clock::Moment;
use crate::object::{condition, condition_is_true, is_terminating, items, name, number, text};

/// Name, type, and whether it shows only with `-o wide`.
type Column = (&'static str, &'static str, bool);

const NAME: Column = ("Name", "string", false);
const AGE: Column = ("Age", "string", false);

pub(super) fn columns(resource: &str) -> &'static [Column] {
    match resource {
        "nodes" => &[
            NAME,
            ("Status", "string", false),
            ("Roles", "string", false),
            AGE,
            ("Version", "string", false),
            ("Internal-IP", "string", true),
            ("External-IP", "string", true),
            ("OS-Image", "string", true),
            ("Kernel-Version", "string", true),
            ("Container-Runtime", "string", true),
        ],
        "pods" => &[
            NAME,
            ("Ready", "string", false),
            ("Status", "string", false),
            ("Restarts", "string", false),
            AGE,
            ("IP", "string", true),
            ("Node", "string", true),
            ("Nominated Node", "string", true),
            ("Readiness Gates", "string", true),
        ],
        "deployments.apps" => &[
            NAME,
            ("Ready", "string", false),
            ("Up-to-date", "integer", false),
            ("Available", "integer", false),
            AGE,
            ("Containers", "string", true),
            ("Images", "string", true),
            ("Selector", "string", true),
        ],
        "replicasets.apps" => &[
            NAME,
            ("Desired", "integer", false),
            ("Current", "integer", false),
            ("Ready", "integer", false),
            AGE,
        ],
        "statefulsets.apps" => &[NAME, ("Ready", "string", false), AGE],
        "daemonsets.apps" => &[
            NAME,
            ("Desired", "integer", false),
            ("Current", "integer", false),
            ("Ready", "integer", false),
            ("Up-to-date", "integer", false),
            ("Available", "integer", false),
            ("Node Selector", "string", false),
            AGE,
        ],
        "jobs.batch" => &[
            NAME,
            ("Status", "string", false),
            ("Completions", "string", false),
            AGE,
        ],
        "namespaces" => &[NAME, ("Status", "string", false), AGE],
        "services" => &[
            NAME,
            ("Type", "string", false),
            ("Cluster-IP", "string", false),
            ("External-IP", "string", false),
            ("Port(s)", "string", false),
            AGE,
            ("Selector", "string", true),
        ],
        "endpoints" => &[NAME, ("Endpoints", "string", false), AGE],
        "configmaps" => &[NAME, ("Data", "string", false), AGE],
        "secrets" => &[
            NAME,
            ("Type", "string", false),
            ("Data", "string", false),
            AGE,
        ],
        "serviceaccounts" => &[NAME, ("Secrets", "string", false), AGE],
        "events" => &[
            ("Last Seen", "string", false),
            ("Type", "string", false),
            ("Reason", "string", false),
            ("Object", "string", false),
            ("Source", "string", true),
            ("Message", "string", false),
            ("First Seen", "string", true),
            ("Count", "string", true),
            ("Name", "string", true),
        ],
        "leases.coordination.k8s.io" => &[NAME, ("Holder", "string", false), AGE],
        "customresourcedefinitions.apiextensions.k8s.io" => &[NAME, ("Created At", "date", false)],
        _ => &[NAME, AGE],
    }
}

pub(super) fn cells(resource: &str, object: &Value, now: Moment) -> Vec<Value> {
    let age = json!(age(object, now));
    let named = json!(name(object));
    let count = |pointer: &str| json!(number(object, pointer).unwrap_or(0));
    let size = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_object)
            .map_or(0, serde_json::Map::len)
    };
    match resource {
        "nodes" => vec![
            named,
            json!(node_status(object)),
            json!(node_roles(object)),
            age,
            json!(text(object, "/status/nodeInfo/kubeletVersion")),
            json!(address(object, "InternalIP")),
            json!(address(object, "ExternalIP")),
            json!(text(object, "/status/nodeInfo/osImage")),
            json!(text(object, "/status/nodeInfo/kernelVersion")),
            json!(text(object, "/status/nodeInfo/containerRuntimeVersion")),
        ],
        "pods" => {
            let statuses = items(object, "/status/containerStatuses");
            let ready = statuses
                .iter()
                .filter(|status| status.get("ready") == Some(&Value::Bool(true)))
                .count();
            let total = items(object, "/spec/containers").len();
            let restarts: i64 = statuses
                .iter()
                .filter_map(|status| number(status, "/restartCount"))
                .sum();
            vec![
                named,
                json!(format!("{ready}/{total}")),
                json!(pod_status(object)),
                json!(restarts.to_string()),
                age,
                json!(or_none(text(object, "/status/podIP"))),
                json!(or_none(text(object, "/spec/nodeName"))),
                json!("<none>"),
                json!("<none>"),
            ]
        }
        "deployments.apps" => {
            let containers = items(object, "/spec/template/spec/containers");
            let joined = |field: &str| {
                containers
                    .iter()
                    .map(|container| text(container, field))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            vec![
                named,
                json!(format!(
                    "{}/{}",
                    count("/status/readyReplicas"),
                    count("/spec/replicas")
                )),
                count("/status/updatedReplicas"),
                count("/status/availableReplicas"),
                age,
                json!(joined("/name")),
                json!(joined("/image")),
                json!(labels(object.pointer("/spec/selector/matchLabels"))),
            ]
        }
        "replicasets.apps" => {
            vec![
                named,
                count("/spec/replicas"),
                count("/status/replicas"),
                count("/status/readyReplicas"),
                age,
            ]
        }
        "statefulsets.apps" => {
            vec![
                named,
                json!(format!(
                    "{}/{}",
                    count("/status/readyReplicas"),
                    count("/spec/replicas")
                )),
                age,
            ]
        }
        "daemonsets.apps" => vec![
            named,
            count("/status/desiredNumberScheduled"),
            count("/status/currentNumberScheduled"),
            count("/status/numberReady"),
            count("/status/updatedNumberScheduled"),
            count("/status/numberAvailable"),
            json!(labels(object.pointer("/spec/template/spec/nodeSelector"))),
            age,
        ],
        "jobs.batch" => vec![
            named,
            json!(if condition_is_true(object, "Complete") {
                "Complete"
            } else {
                "Running"
            }),
            json!(format!(
                "{}/{}",
                count("/status/succeeded"),
                count("/spec/completions")
            )),
            age,
        ],
        "namespaces" => vec![named, json!(text(object, "/status/phase")), age],
        "services" => vec![
            named,
            json!(text(object, "/spec/type")),
            json!(or_none(text(object, "/spec/clusterIP"))),
            json!(external_address(object)),
            json!(ports(object)),
            age,
            json!(labels(object.pointer("/spec/selector"))),
        ],
        "endpoints" => vec![named, json!(endpoints(object)), age],
        "configmaps" => vec![
            named,
            json!((size("data") + size("binaryData")).to_string()),
            age,
        ],
        "secrets" => vec![
            named,
            json!(text(object, "/type")),
            json!(size("data").to_string()),
            age,
        ],
        "serviceaccounts" => vec![
            named,
            json!(items(object, "/secrets").len().to_string()),
            age,
        ],
        "events" => event(object, now),
        "leases.coordination.k8s.io" => {
            vec![named, json!(text(object, "/spec/holderIdentity")), age]
        }
        "customresourcedefinitions.apiextensions.k8s.io" => {
            vec![named, json!(text(object, "/metadata/creationTimestamp"))]
        }
        _ => vec![named, age],
    }
}

fn event(object: &Value, now: Moment) -> Vec<Value> {
    let seen = |pointer: &str| json!(age_since(text(object, pointer), now));
    let involved = format!(
        "{}/{}",
        text(object, "/involvedObject/kind").to_lowercase(),
        text(object, "/involvedObject/name")
    );
    let host = text(object, "/source/host");
    let component = text(object, "/source/component");
    vec![
        seen("/lastTimestamp"),
        json!(text(object, "/type")),
        json!(text(object, "/reason")),
        json!(involved),
        json!(if host.is_empty() {
            component.to_owned()
        } else {
            format!("{component}, {host}")
        }),
        json!(text(object, "/message")),
        seen("/firstTimestamp"),
        json!(number(object, "/count").unwrap_or(1).to_string()),
        json!(name(object)),
    ]
}

fn node_status(node: &Value) -> String {
    let mut status = match condition(node, "Ready").map(|ready| text(ready, "/status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let mut roles: Vec<_> = labels
        .into_iter()
        .flatten()
        .filter_map(|(label, _)| label.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    roles.sort_unstable();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

fn address(node: &Value, kind: &str) -> String {
    let found = items(node, "/status/addresses")
        .iter()
        .find(|address| text(address, "/type") == kind);
    or_none(found.map_or("", |address| text(address, "/address"))).to_owned()
}

fn pod_status(pod: &Value) -> &str {
    if is_terminating(pod) {
        return "Terminating";
    }
    let mut waiting = items(pod, "/status/containerStatuses")
        .iter()
        .map(|status| text(status, "/state/waiting/reason"));
    match text(pod, "/status/phase") {
        "Succeeded" => "Completed",
        "Pending" => waiting
            .rfind(|reason| !reason.is_empty())
            .unwrap_or("Pending"),
        phase => phase,
    }
}

fn ports(service: &Value) -> String {
    let listed: Vec<_> = items(service, "/spec/ports")
        .iter()
        .map(|port| {
            let node_port = number(port, "/nodePort")
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            format!(
                "{}{node_port}/{}",
                number(port, "/port").unwrap_or(0),
                text(port, "/protocol")
            )
        })
        .collect();
    or_none(&listed.join(",")).to_owned()
}

fn external_address(service: &Value) -> &str {
    match text(service, "/spec/type") {
        "LoadBalancer" => match text(service, "/status/loadBalancer/ingress/0/ip") {
            "" => "<pending>",
            address => address,
        },
        "ExternalName" => text(service, "/spec/externalName"),
        _ => "<none>",
    }
}

fn endpoints(endpoints: &Value) -> String {
    let mut listed = Vec::new();
    for subset in items(endpoints, "/subsets") {
        for address in items(subset, "/addresses") {
            for port in items(subset, "/ports") {
                listed.push(format!(
                    "{}:{}",
                    text(address, "/ip"),
                    number(port, "/port").unwrap_or(0)
                ));
            }
        }
    }
    or_none(&listed.join(",")).to_owned()
}

fn labels(labels: Option<&Value>) -> String {
    let listed: Vec<_> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_none(&listed.join(",")).to_owned()
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}
