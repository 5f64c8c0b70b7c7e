//! The `kubernetes` service, and the endpoints of services that select pods.

use serde_json::{Value, json};

use super::namespaces::create;
use super::{NodeFacts, snapshot};
use crate::api::World;
use crate::clock::Moment;
use crate::object;
use crate::selector::label_selector_matches;
use crate::store::Key;

pub(super) fn begin(world: &mut World, facts: &NodeFacts, now: Moment) {
    let address = format!("{}.0.1", world.service_prefix);
    let service = json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": facts.port}],
        },
        "status": {"loadBalancer": {}},
    });
    create(
        world,
        Key::new("services", "default", "kubernetes"),
        service,
        now,
    );
    let addresses: Vec<_> = facts
        .addresses
        .iter()
        .take(1)
        .map(|address| json!({"ip": address.to_string()}))
        .collect();
    let subsets = json!([{"addresses": addresses, "ports": [{"name": "https", "port": facts.port, "protocol": "TCP"}]}]);
    let endpoints = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "kubernetes", "namespace": "default"}, "subsets": subsets});
    let key = Key::new("endpoints", "default", "kubernetes");
    create(world, key.clone(), endpoints, now);
    set_subsets(world, &key, subsets);
}

pub(super) fn reconcile(world: &mut World, now: Moment) {
    for service in snapshot(world, "services") {
        let Some(labels) = service
            .pointer("/spec/selector")
            .filter(|labels| labels.is_object())
        else {
            continue;
        };
        let namespace = object::namespace(&service);
        let selector = json!({"matchLabels": labels});
        let addresses: Vec<Value> = world
            .store
            .list("pods", Some(namespace))
            .map(|(_, pod)| pod)
            .filter(|pod| label_selector_matches(&selector, pod.pointer("/metadata/labels")) && object::condition_is_true(pod, "Ready"))
            .map(|pod| {
                json!({
                    "ip": object::text(pod, "/status/podIP"),
                    "nodeName": object::text(pod, "/spec/nodeName"),
                    "targetRef": {"kind": "Pod", "namespace": namespace, "name": object::name(pod), "uid": object::uid(pod)},
                })
            })
            .collect();
        let ports: Vec<Value> = object::items(&service, "/spec/ports")
            .iter()
            .map(|port| {
                let number = object::number(port, "/targetPort").or_else(|| object::number(port, "/port")).unwrap_or(0);
                json!({"name": object::text(port, "/name"), "port": number, "protocol": object::text(port, "/protocol")})
            })
            .collect();
        let subsets = if addresses.is_empty() {
            json!([])
        } else {
            json!([{"addresses": addresses, "ports": ports}])
        };
        let key = Key::new("endpoints", namespace, object::name(&service));
        let mut owner = object::owner_reference(&service);
        object::set(&mut owner, &["controller"], json!(false));
        let endpoints = json!({
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {"name": key.name, "namespace": namespace, "ownerReferences": [owner]},
            "subsets": subsets,
        });
        create(world, key.clone(), endpoints, now);
        set_subsets(world, &key, subsets);
    }
}

fn set_subsets(world: &mut World, key: &Key, subsets: Value) {
    if let Some(endpoints) = world.store.object(key) {
        let mut endpoints = (**endpoints).clone();
        object::set(&mut endpoints, &["subsets"], subsets);
        world.store.put(key.clone(), endpoints);
    }
}
