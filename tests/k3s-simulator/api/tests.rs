use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::store::Key;

const NOW: Moment = Moment {
    uptime: Duration::ZERO,
    wall: UNIX_EPOCH,
};

fn world() -> World {
    let mut store = Store::new(100, 16);
    store.put(
        Key::new("namespaces", "", "default"),
        json!({"kind": "Namespace", "metadata": {"name": "default"}}),
    );
    World {
        store,
        ids: Ids::new(1),
        is_ready: false,
        service_prefix: "10.43".to_owned(),
    }
}

fn call(
    world: &mut World,
    method: &str,
    target: &str,
    content_type: &str,
    body: &Value,
) -> (u16, Value) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: crate::request::parse_query(query),
        accept: "application/json".to_owned(),
        content_type: content_type.to_owned(),
        body: if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        },
    };
    match handle(world, &request, NOW) {
        Answer::Json { code, body } => (code, body),
        Answer::Raw { code, body, .. } => (code, Value::String(String::from_utf8(body).unwrap())),
        Answer::Watch(_) => (200, json!("watch")),
    }
}

fn get(world: &mut World, target: &str) -> (u16, Value) {
    call(world, "GET", target, "", &Value::Null)
}

fn post(world: &mut World, target: &str, body: &Value) -> (u16, Value) {
    call(world, "POST", target, "application/json", body)
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[test]
fn readiness_names_its_checks_until_it_is_there() {
    let mut world = world();
    let (code, text) = get(&mut world, "/readyz");
    assert_eq!(code, 500);
    let text = text.as_str().unwrap();
    assert!(
        text.starts_with("[+]ping ok\n")
            && text.contains("[-]informer-sync failed: reason withheld\n"),
        "{text}"
    );
    assert_eq!(get(&mut world, "/livez"), (200, json!("ok")));
    world.is_ready = true;
    assert_eq!(get(&mut world, "/readyz"), (200, json!("ok")));
    assert!(
        get(&mut world, "/readyz?verbose")
            .1
            .as_str()
            .unwrap()
            .ends_with("readyz check passed\n")
    );
}

#[test]
fn an_object_lives_from_post_to_delete() {
    let mut world = world();
    let (code, created) = post(&mut world, CONFIG_MAPS, &config_map("x"));
    assert_eq!(code, 201);
    assert_eq!(created["metadata"]["namespace"], "default");
    let path = format!("{CONFIG_MAPS}/x");
    assert_eq!(get(&mut world, &path), (200, created));
    let (code, patched) = call(
        &mut world,
        "PATCH",
        &path,
        "application/merge-patch+json",
        &json!({"data": {"b": "2"}}),
    );
    assert_eq!(
        (code, &patched["data"]),
        (200, &json!({"a": "1", "b": "2"}))
    );
    assert_eq!(
        call(&mut world, "DELETE", &path, "", &Value::Null).1["status"],
        "Success"
    );
    let (code, status) = get(&mut world, &path);
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (404, "configmaps \"x\" not found")
    );
}

#[test]
fn mistakes_get_the_status_that_clients_branch_on() {
    let mut world = world();
    post(&mut world, CONFIG_MAPS, &config_map("x"));
    let mut stale = config_map("x");
    stale["metadata"]["resourceVersion"] = json!("1");
    let path = format!("{CONFIG_MAPS}/x");
    let cases = [
        (
            post(&mut world, CONFIG_MAPS, &config_map("x")),
            409,
            "AlreadyExists",
        ),
        (
            call(&mut world, "PUT", &path, "application/json", &stale),
            409,
            "Conflict",
        ),
        (
            post(&mut world, CONFIG_MAPS, &config_map("X_")),
            422,
            "Invalid",
        ),
        (
            post(
                &mut world,
                "/api/v1/namespaces/none/configmaps",
                &config_map("x"),
            ),
            404,
            "NotFound",
        ),
        (
            post(&mut world, CONFIG_MAPS, &json!({"kind": "Secret"})),
            400,
            "BadRequest",
        ),
        (
            call(&mut world, "POST", CONFIG_MAPS, "text/plain", &json!({})),
            415,
            "UnsupportedMediaType",
        ),
        (
            call(&mut world, "PATCH", &path, "application/json", &json!({})),
            415,
            "UnsupportedMediaType",
        ),
        (
            call(&mut world, "DELETE", "/api/v1/configmaps", "", &Value::Null),
            405,
            "MethodNotAllowed",
        ),
        (get(&mut world, "/api/v1/pies"), 404, "NotFound"),
        (get(&mut world, "/apis/none/v1"), 404, "NotFound"),
        (
            get(&mut world, "/api/v1/nodes?resourceVersion=9999"),
            504,
            "Timeout",
        ),
        (
            get(&mut world, "/api/v1/nodes?resourceVersion=x"),
            400,
            "BadRequest",
        ),
        (
            get(&mut world, "/api/v1/nodes?labelSelector=a%20b"),
            400,
            "BadRequest",
        ),
    ];
    for ((code, status), expected, reason) in cases {
        assert_eq!(
            (code, status["reason"].as_str()),
            (expected, Some(reason)),
            "{status}"
        );
    }
}

#[test]
fn a_deployment_must_select_its_own_pods() {
    let mut world = world();
    let deployment = |label: &str| {
        json!({
            "metadata": {"name": "d"},
            "spec": {
                "selector": {"matchLabels": {"app": "d"}},
                "template": {"metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
        })
    };
    let path = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(post(&mut world, path, &deployment("other")).0, 422);
    let (code, created) = post(&mut world, path, &deployment("d"));
    assert_eq!((code, &created["spec"]["replicas"]), (201, &json!(1)));
    let (code, scale) = call(
        &mut world,
        "PATCH",
        &format!("{path}/d/scale"),
        "application/merge-patch+json",
        &json!({"spec": {"replicas": 3}}),
    );
    assert_eq!(
        (code, &scale["spec"]["replicas"], &scale["kind"]),
        (200, &json!(3), &json!("Scale"))
    );
    assert_eq!(
        get(&mut world, &format!("{path}/d")).1["metadata"]["generation"],
        2
    );
}

#[test]
fn apply_creates_and_then_merges() {
    let mut world = world();
    let path = format!("{CONFIG_MAPS}/x?fieldManager=kubectl&force=false");
    let apply = |world: &mut World, data: Value| {
        call(
            world,
            "PATCH",
            &path,
            "application/apply-patch+yaml",
            &json!({"kind": "ConfigMap", "apiVersion": "v1", "data": data}),
        )
    };
    assert_eq!(apply(&mut world, json!({"a": "1"})).0, 201);
    let (code, merged) = apply(&mut world, json!({"b": "2"}));
    assert_eq!((code, &merged["data"]), (200, &json!({"a": "1", "b": "2"})));
}

#[test]
fn a_finalizer_holds_an_object_until_it_is_removed() {
    let mut world = world();
    let mut held = config_map("x");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    post(&mut world, CONFIG_MAPS, &held);
    let path = format!("{CONFIG_MAPS}/x");
    let (code, marked) = call(&mut world, "DELETE", &path, "", &Value::Null);
    assert!(code == 200 && marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(get(&mut world, &path).0, 200);
    call(
        &mut world,
        "PATCH",
        &path,
        "application/merge-patch+json",
        &json!({"metadata": {"finalizers": null}}),
    );
    assert_eq!(get(&mut world, &path).0, 404);
}

#[test]
fn containers_say_that_they_do_not_run() {
    let mut world = world();
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    post(&mut world, "/api/v1/namespaces/default/pods", &pod);
    for subresource in ["log", "exec", "attach", "portforward"] {
        let (code, status) = get(
            &mut world,
            &format!("/api/v1/namespaces/default/pods/p/{subresource}"),
        );
        assert_eq!(code, 501);
        assert!(
            status["message"]
                .as_str()
                .unwrap()
                .contains("not supported by the k3s simulator"),
            "{status}"
        );
    }
    assert_eq!(
        get(&mut world, "/api/v1/namespaces/default/pods/p/pie").0,
        404
    );
}

#[test]
fn a_definition_is_served_once_it_exists() {
    let mut world = world();
    let definition = json!({
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        },
    });
    let path = "/apis/example.org/v1/namespaces/default/widgets";
    assert_eq!(get(&mut world, path).0, 404);
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(post(&mut world, definitions, &definition).0, 201);
    assert_eq!(
        post(
            &mut world,
            path,
            &json!({"metadata": {"name": "w"}, "spec": {"size": 3}})
        )
        .0,
        201
    );
    assert_eq!(get(&mut world, path).1["kind"], "WidgetList");
}
