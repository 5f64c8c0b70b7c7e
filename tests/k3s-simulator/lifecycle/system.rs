//! The components that k3s deploys into `kube-system`, unless they are disabled.

use serde_json::{Value, json};

use super::namespaces::create;
use crate::api::World;
use crate::clock::Moment;
use crate::store::Key;

struct Component {
    /// The name that `--disable` knows it by.
    item: &'static str,
    name: &'static str,
    label: (&'static str, &'static str),
    image: &'static str,
}

const COMPONENTS: [Component; 3] = [
    Component {
        item: "coredns",
        name: "coredns",
        label: ("k8s-app", "kube-dns"),
        image: "rancher/mirrored-coredns-coredns:1.12.3",
    },
    Component {
        item: "local-storage",
        name: "local-path-provisioner",
        label: ("app", "local-path-provisioner"),
        image: "rancher/local-path-provisioner:v0.0.31",
    },
    Component {
        item: "metrics-server",
        name: "metrics-server",
        label: ("k8s-app", "metrics-server"),
        image: "rancher/mirrored-metrics-server:v0.8.0",
    },
];

/// Traefik and the service load balancer, which k3s installs by jobs, are left out.
pub(super) fn deploy(world: &mut World, disabled: &[String], now: Moment) {
    let is_disabled = |item: &str| disabled.iter().any(|name| name == item);
    for component in &COMPONENTS {
        let key = Key::new("deployments.apps", "kube-system", component.name);
        if is_disabled(component.item) {
            world.store.remove(&key);
        } else {
            create(world, key, deployment(component), now);
        }
    }
    if !is_disabled("coredns") {
        let service = dns_service(&world.service_prefix);
        create(
            world,
            Key::new("services", "kube-system", "kube-dns"),
            service,
            now,
        );
    }
    if !is_disabled("local-storage") {
        let class = json!({
            "kind": "StorageClass",
            "apiVersion": "storage.k8s.io/v1",
            "metadata": {"name": "local-path", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "rancher.io/local-path",
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        });
        create(
            world,
            Key::new("storageclasses.storage.k8s.io", "", "local-path"),
            class,
            now,
        );
    }
}

fn deployment(component: &Component) -> Value {
    let (key, value) = component.label;
    let labels = json!({key: value});
    json!({
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {
            "name": component.name,
            "namespace": "kube-system",
            "labels": labels,
            "annotations": {"objectset.rio.cattle.io/owner-name": component.item},
        },
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{"name": component.name, "image": component.image, "imagePullPolicy": "IfNotPresent", "resources": {}}],
                    "restartPolicy": "Always",
                    "dnsPolicy": "Default",
                    "terminationGracePeriodSeconds": 30,
                    "schedulerName": "default-scheduler",
                    "priorityClassName": "system-cluster-critical",
                },
            },
        },
        "status": {},
    })
}

fn dns_service(service_prefix: &str) -> Value {
    let address = format!("{service_prefix}.0.10");
    json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "selector": {"k8s-app": "kube-dns"},
            "sessionAffinity": "None",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
        "status": {"loadBalancer": {}},
    })
}
