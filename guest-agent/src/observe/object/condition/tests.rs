use kube::core::GroupVersionKind;
use serde_json::json;

use super::*;

fn judged(group: &str, kind: &str, data: Value, condition: Option<&str>) -> (bool, String) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let mut object = DynamicObject::new("x", &kind);
    object.metadata.generation = Some(2);
    object.data = data;
    let verdict = judge(&kind, &object, condition);
    (verdict.met, verdict.detail)
}

fn conditions(list: &[(&str, &str)]) -> Value {
    let list: Vec<Value> = list
        .iter()
        .map(|(kind, status)| json!({"type": kind, "status": status, "reason": "Because", "message": "of this"}))
        .collect();
    json!({"status": {"conditions": list}})
}

#[test]
fn deployments() {
    let deployment = |observed: i64, updated: i64, available: i64, condition: &str| {
        let status = json!({
            "observedGeneration": observed, "updatedReplicas": updated, "availableReplicas": available,
            "conditions": [{"type": "Available", "status": condition}],
        });
        judged(
            "apps",
            "Deployment",
            json!({"spec": {"replicas": 2}, "status": status}),
            None,
        )
    };
    assert_eq!(
        deployment(2, 2, 2, "True"),
        (true, "2 of 2 available".to_owned())
    );
    assert_eq!(
        deployment(2, 2, 1, "True"),
        (false, "1 of 2 available".to_owned())
    );
    assert_eq!(
        deployment(2, 2, 2, "False"),
        (false, "2 of 2 available".to_owned())
    );
    assert_eq!(
        deployment(2, 1, 2, "True"),
        (false, "1 of 2 updated".to_owned())
    );
    assert_eq!(
        deployment(1, 2, 2, "True"),
        (false, "its change is not seen yet".to_owned())
    );
    assert_eq!(
        judged("apps", "Deployment", json!({}), None),
        (false, "its change is not seen yet".to_owned())
    );
}

#[test]
fn other_workloads() {
    let set = |available: i64| json!({"status": {"observedGeneration": 2, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": available}});
    assert_eq!(
        judged("apps", "DaemonSet", set(1), None),
        (true, "1 of 1 available".to_owned())
    );
    assert_eq!(
        judged("apps", "DaemonSet", set(0), None),
        (false, "0 of 1 available".to_owned())
    );
    let set = |ready: i64| json!({"status": {"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": ready}});
    assert_eq!(
        judged("apps", "StatefulSet", set(1), None),
        (true, "1 of 1 ready".to_owned())
    );
    assert_eq!(
        judged("apps", "StatefulSet", set(0), None),
        (false, "0 of 1 ready".to_owned())
    );
}

#[test]
fn pods() {
    let pod = |phase: &str, ready: &str| {
        let mut data = conditions(&[("Ready", ready)]);
        data["status"]["phase"] = json!(phase);
        judged("", "Pod", data, None)
    };
    assert_eq!(pod("Running", "True"), (true, "Ready".to_owned()));
    assert_eq!(
        pod("Running", "False"),
        (false, "Because: of this".to_owned())
    );
    assert_eq!(pod("Pending", "False"), (false, "Pending".to_owned()));
    assert_eq!(pod("Succeeded", "False"), (true, "Succeeded".to_owned()));
    assert_eq!(pod("Failed", "False"), (false, "Failed".to_owned()));
}

#[test]
fn jobs() {
    assert_eq!(
        judged("batch", "Job", conditions(&[("Complete", "True")]), None),
        (true, "Complete".to_owned())
    );
    assert_eq!(
        judged("batch", "Job", conditions(&[("Failed", "True")]), None),
        (false, "Failed: Because: of this".to_owned())
    );
    assert_eq!(
        judged("batch", "Job", json!({"status": {"active": 1}}), None),
        (false, "1 running".to_owned())
    );
}

#[test]
fn cluster_kinds() {
    let established = conditions(&[("NamesAccepted", "True"), ("Established", "True")]);
    assert!(
        judged(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            established,
            None
        )
        .0
    );
    assert!(judged("", "Node", conditions(&[("Ready", "True")]), None).0);
    assert_eq!(
        judged("", "Node", conditions(&[("NotReady", "True")]), None),
        (false, "has no condition Ready yet".to_owned())
    );
    assert!(
        judged(
            "",
            "Namespace",
            json!({"status": {"phase": "Active"}}),
            None
        )
        .0
    );
    assert_eq!(
        judged(
            "",
            "Namespace",
            json!({"status": {"phase": "Terminating"}}),
            None
        ),
        (false, "Terminating".to_owned())
    );
}

#[test]
fn anything_else() {
    assert_eq!(
        judged("", "ConfigMap", json!({"data": {}}), None),
        (true, "exists".to_owned())
    );
    assert!(judged("x.io", "Thing", conditions(&[("Ready", "True")]), None).0);
    assert!(
        !judged(
            "x.io",
            "Thing",
            conditions(&[("Ready", "False"), ("Available", "True")]),
            None
        )
        .0
    );
    assert!(judged("x.io", "Thing", conditions(&[("Available", "True")]), None).0);
    assert!(!judged("x.io", "Thing", conditions(&[("Synced", "True")]), None).0);
    for hostile in [
        json!([]),
        json!("x"),
        json!({"status": []}),
        json!({"status": {"conditions": {"type": 1}}}),
        json!({"status": {"conditions": [1, {}]}}),
    ] {
        let _ = judged("x.io", "Thing", hostile, Some("Ready"));
    }
}

#[test]
fn a_named_condition() {
    assert!(
        judged(
            "apps",
            "Deployment",
            conditions(&[("Progressing", "True")]),
            Some("progressing")
        )
        .0
    );
    assert_eq!(
        judged(
            "",
            "Pod",
            conditions(&[("Ready", "Unknown")]),
            Some("Ready")
        ),
        (false, "Because: of this".to_owned())
    );
    let stale = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}});
    assert_eq!(
        judged("x.io", "Thing", stale, Some("Ready")),
        (false, "its change is not seen yet".to_owned())
    );
}

#[test]
fn what_is_being_deleted_is_not_ready() {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }))
    .unwrap();
    assert!(!judge(&kind, &object, None).met);
}
