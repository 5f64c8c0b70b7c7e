use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::*;
use crate::ids::Ids;
use crate::object;
use crate::store::{Key, Store};

struct Cluster {
    lifecycle: Lifecycle,
    world: World,
    uptime: Duration,
}

impl Cluster {
    fn new(script: Script, has_cni: bool) -> Self {
        let facts = NodeFacts {
            name: "n1".to_owned(),
            addresses: vec!["192.100.0.10".parse().unwrap()],
            labels: vec![("tier".to_owned(), "lab".to_owned())],
            pod_cidr: "10.42.0.0/24".to_owned(),
            embedded_etcd: false,
            kernel: "6".to_owned(),
            os_image: "Linux".to_owned(),
            cpus: 1,
            memory_kib: 1,
            port: 6443,
        };
        let world = World {
            store: Store::new(0, 4096),
            ids: Ids::new(1),
            is_ready: false,
            service_prefix: "10.43".to_owned(),
        };
        let lifecycle = Lifecycle::new(facts, script, Vec::new(), has_cni, "PEM".to_owned());
        Self {
            lifecycle,
            world,
            uptime: Duration::ZERO,
        }
    }

    fn step(&mut self) -> Option<Duration> {
        let now = Moment {
            uptime: self.uptime,
            wall: UNIX_EPOCH + self.uptime,
        };
        self.lifecycle.step(&mut self.world, now)
    }

    /// Jumps from one due time to the next until `until`.
    fn run(&mut self, until: Duration) {
        while let Some(next) = self.step() {
            assert!(next > self.uptime, "a step that is due at once would spin");
            if next > until {
                break;
            }
            self.uptime = next;
        }
        self.uptime = until;
        self.step();
    }

    fn object(&self, resource: &str, namespace: &str, name: &str) -> Value {
        self.world
            .store
            .object(&Key::new(resource, namespace, name))
            .map(|object| (**object).clone())
            .unwrap_or_default()
    }

    fn node(&self) -> Value {
        self.object("nodes", "", "n1")
    }

    fn put(&mut self, resource: &str, name: &str, spec: &Value) {
        let kind = if resource.starts_with("daemon") {
            "DaemonSet"
        } else {
            "Deployment"
        };
        let uid = self.world.ids.uid();
        let object = json!({
            "kind": kind,
            "apiVersion": "apps/v1",
            "metadata": {"name": name, "namespace": "kube-system", "uid": uid, "generation": 1},
            "spec": spec,
        });
        self.world
            .store
            .put(Key::new(resource, "kube-system", name), object);
    }
}

fn spec(label: &str, replicas: i64) -> Value {
    let labels = json!({"app": label});
    json!({
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    })
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_node_climbs_in_the_order_of_the_script() {
    let mut cluster = Cluster::new(Script::default(), true);
    cluster.run(Duration::from_millis(299));
    assert!(!cluster.world.is_ready);
    cluster.run(Duration::from_millis(300));
    assert!(cluster.world.is_ready && cluster.node().is_null());
    cluster.run(Duration::from_millis(400));
    assert_eq!(
        object::text(
            object::condition(&cluster.node(), "Ready").unwrap(),
            "/reason"
        ),
        "KubeletNotReady"
    );
    assert_eq!(
        object::text(&cluster.node(), "/spec/taints/0/key"),
        "node.kubernetes.io/not-ready"
    );
    cluster.run(Duration::from_millis(800));
    assert!(object::condition_is_true(&cluster.node(), "Ready"));
    assert!(object::items(&cluster.node(), "/spec/taints").is_empty());
    assert_eq!(
        object::text(&cluster.node(), "/metadata/labels/tier"),
        "lab"
    );
}

#[test]
fn system_components_become_available_after_the_node() {
    let mut cluster = Cluster::new(Script::default(), true);
    cluster.run(Duration::from_millis(1099));
    let available = |cluster: &Cluster| {
        object::condition_is_true(
            &cluster.object("deployments.apps", "kube-system", "coredns"),
            "Available",
        )
    };
    assert!(!available(&cluster));
    cluster.run(Duration::from_millis(1100));
    assert!(available(&cluster));
    let endpoints = cluster.object("endpoints", "kube-system", "kube-dns");
    assert_eq!(object::items(&endpoints, "/subsets/0/addresses").len(), 1);
    let reasons: Vec<_> = snapshot(&cluster.world, "events")
        .iter()
        .map(|event| object::text(event, "/reason").to_owned())
        .collect();
    for reason in [
        "RegisteredNode",
        "NodeReady",
        "ScalingReplicaSet",
        "SuccessfulCreate",
        "Scheduled",
        "Started",
    ] {
        assert!(reasons.iter().any(|seen| seen == reason), "{reason}");
    }
}

#[test]
fn without_a_network_plugin_the_node_waits_for_one() {
    let mut cluster = Cluster::new(Script::default(), false);
    cluster.run(60 * SECOND);
    let ready = object::condition(&cluster.node(), "Ready")
        .cloned()
        .unwrap();
    assert!(object::text(&ready, "/message").contains("cni plugin not initialized"));
    assert!(
        snapshot(&cluster.world, "pods")
            .iter()
            .all(|pod| object::text(pod, "/status/phase") == "Pending")
    );
    cluster.put("daemonsets.apps", "cilium", &spec("cilium", 0));
    cluster.run(62 * SECOND);
    assert!(object::condition_is_true(&cluster.node(), "Ready"));
    assert!(
        snapshot(&cluster.world, "pods")
            .iter()
            .all(|pod| object::text(pod, "/status/phase") == "Running")
    );
    let cilium = cluster.object("daemonsets.apps", "kube-system", "cilium");
    assert_eq!(object::number(&cilium, "/status/numberReady"), Some(1));
}

#[test]
fn a_deployment_follows_its_replicas_and_takes_everything_with_it() {
    let mut cluster = Cluster::new(Script::default(), true);
    cluster.run(2 * SECOND);
    let pods = |cluster: &Cluster| {
        snapshot(&cluster.world, "pods")
            .iter()
            .filter(|pod| object::name(pod).starts_with("web-"))
            .count()
    };
    for (at, replicas) in [(3, 3), (4, 1), (5, 0), (6, 2)] {
        let mut web = cluster.object("deployments.apps", "kube-system", "web");
        if web.is_null() {
            cluster.put("deployments.apps", "web", &spec("web", replicas));
        } else {
            object::set(&mut web, &["spec", "replicas"], json!(replicas));
            cluster
                .world
                .store
                .put(Key::new("deployments.apps", "kube-system", "web"), web);
        }
        cluster.run(at * SECOND);
        assert_eq!(pods(&cluster), usize::try_from(replicas).unwrap());
        let web = cluster.object("deployments.apps", "kube-system", "web");
        assert_eq!(
            object::number(&web, "/status/availableReplicas").unwrap_or(0),
            replicas
        );
    }
    cluster
        .world
        .store
        .remove(&Key::new("deployments.apps", "kube-system", "web"));
    cluster.run(7 * SECOND);
    assert_eq!(pods(&cluster), 0);
    assert!(
        snapshot(&cluster.world, "replicasets.apps")
            .iter()
            .all(|set| !object::name(set).starts_with("web-"))
    );
}

#[test]
fn a_scripted_failure_takes_the_node_and_its_pods_down() {
    let script = Script {
        node_not_ready_after: Some(5 * SECOND),
        ..Script::default()
    };
    let mut cluster = Cluster::new(script, true);
    cluster.run(5 * SECOND);
    assert!(object::condition_is_true(&cluster.node(), "Ready"));
    cluster.run(6 * SECOND);
    assert!(!object::condition_is_true(&cluster.node(), "Ready"));
    assert!(!object::condition_is_true(
        &cluster.object("deployments.apps", "kube-system", "coredns"),
        "Available"
    ));
}

#[test]
fn an_idle_cluster_only_renews_its_lease() {
    let mut cluster = Cluster::new(Script::default(), true);
    cluster.run(30 * SECOND);
    let before = cluster.world.store.version();
    cluster.run(330 * SECOND);
    assert_eq!(cluster.world.store.version() - before, 30);
}

#[test]
fn a_dying_namespace_takes_its_contents_with_it() {
    let mut cluster = Cluster::new(Script::default(), true);
    cluster.run(2 * SECOND);
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "gone", "uid": "u", "deletionTimestamp": "1970-01-01T00:00:00Z"}});
    cluster
        .world
        .store
        .put(Key::new("namespaces", "", "gone"), namespace);
    cluster.world.store.put(
        Key::new("configmaps", "gone", "x"),
        json!({"metadata": {"name": "x", "namespace": "gone"}}),
    );
    cluster.step();
    assert!(
        cluster
            .world
            .store
            .all()
            .all(|(key, _)| key.namespace != "gone" && key.name != "gone")
    );
}
