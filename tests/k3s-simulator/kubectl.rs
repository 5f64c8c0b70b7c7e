//! A stock kubectl against a running simulator. Skipped, loudly, where there is no kubectl.

mod faults;
mod harness;

use harness::Simulator;

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {level: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "nginx:1", env: [{name: LEVEL, value: "1"}]}
"#;

#[test]
fn the_node_and_the_system_are_shown() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    simulator
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "node/k3s-dev",
            "--timeout=20s",
        ])
        .succeeds();
    let wide = simulator
        .kubectl(&["get", "nodes", "-o", "wide"])
        .succeeds();
    assert!(
        wide.contains("k3s-dev   Ready    control-plane,master"),
        "{wide}"
    );
    assert!(wide.contains("127.0.0.1"), "{wide}");
    let yaml = simulator
        .kubectl(&["get", "nodes", "-o", "yaml"])
        .succeeds();
    assert!(yaml.contains("reason: KubeletReady"), "{yaml}");
    let described = simulator
        .kubectl(&["describe", "node", "k3s-dev"])
        .succeeds();
    assert!(
        described.contains("RegisteredNode") && described.contains("HolderIdentity:  k3s-dev"),
        "{described}"
    );
    simulator
        .kubectl(&[
            "-n",
            "kube-system",
            "wait",
            "--for=condition=Available",
            "deployment/coredns",
            "--timeout=20s",
        ])
        .succeeds();
    let pods = simulator.kubectl(&["get", "pods", "-A"]).succeeds();
    assert!(
        pods.contains("kube-system   coredns-") && pods.contains("1/1     Running"),
        "{pods}"
    );
    assert!(
        simulator
            .kubectl(&["get", "events"])
            .succeeds()
            .contains("NodeReady")
    );
    assert!(
        simulator
            .kubectl(&["version"])
            .succeeds()
            .contains("Server Version")
    );
    assert!(
        simulator
            .kubectl(&["api-resources"])
            .succeeds()
            .contains("deployments")
    );
    assert!(
        simulator
            .kubectl(&["get", "--raw", "/readyz?verbose"])
            .succeeds()
            .ends_with("readyz check passed\n")
    );
}

#[test]
fn manifests_are_applied_changed_and_deleted() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    let path = simulator.write("web.yaml", MANIFEST);
    let apply = |flags: &[&str]| {
        simulator
            .kubectl(&[&["apply", "-f", &path], flags].concat())
            .succeeds()
    };
    assert!(apply(&[]).contains("deployment.apps/web created"));
    simulator
        .kubectl(&[
            "wait",
            "--for=condition=Available",
            "deployment/web",
            "--timeout=20s",
        ])
        .succeeds();
    simulator.write("web.yaml", &MANIFEST.replace("\"1\"", "\"2\""));
    assert!(apply(&[]).contains("configmap/settings configured"));
    simulator
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=20s"])
        .succeeds();
    let level = simulator.kubectl(&[
        "get",
        "pods",
        "-o",
        "jsonpath={.items[*].spec.containers[*].env[*].value}",
    ]);
    assert_eq!(level.succeeds(), "2 2");
    simulator
        .kubectl(&["scale", "deployment/web", "--replicas=3"])
        .succeeds();
    simulator
        .kubectl(&["rollout", "status", "deployment/web", "--timeout=20s"])
        .succeeds();
    let described = simulator
        .kubectl(&["describe", "deployment", "web"])
        .succeeds();
    assert!(
        described.contains("3 desired | 3 updated | 3 total | 3 available"),
        "{described}"
    );
    assert!(apply(&["--server-side", "--force-conflicts"]).contains("serverside-applied"));
    assert!(
        simulator
            .kubectl(&["delete", "-f", &path])
            .succeeds()
            .contains("\"web\" deleted")
    );
    simulator
        .kubectl(&[
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app=web",
            "--timeout=20s",
        ])
        .succeeds();
}

#[test]
fn objects_are_created_by_command() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    simulator
        .kubectl(&[
            "wait",
            "--for=condition=Ready",
            "node/k3s-dev",
            "--timeout=20s",
        ])
        .succeeds();
    for arguments in [
        &["create", "namespace", "lab"][..],
        &[
            "-n",
            "lab",
            "create",
            "configmap",
            "c",
            "--from-literal=a=b",
        ],
        &[
            "-n",
            "lab",
            "create",
            "secret",
            "generic",
            "s",
            "--from-literal=a=b",
        ],
        &[
            "-n",
            "lab",
            "create",
            "deployment",
            "d",
            "--image=x",
            "--replicas=2",
        ],
        &[
            "-n",
            "lab",
            "rollout",
            "status",
            "deployment/d",
            "--timeout=20s",
        ],
        &["-n", "lab", "expose", "deployment", "d", "--port=80"],
        &["-n", "lab", "create", "job", "j", "--image=x"],
        &[
            "-n",
            "lab",
            "wait",
            "--for=condition=Complete",
            "job/j",
            "--timeout=20s",
        ],
        &["auth", "can-i", "create", "pods"],
        &["delete", "namespace", "lab", "--timeout=20s"],
    ] {
        simulator.kubectl(arguments).succeeds();
    }
    let gone = simulator
        .kubectl(&["-n", "lab", "get", "configmap", "c"])
        .fails();
    assert!(gone.contains("not found"), "{gone}");
}

#[test]
fn what_needs_containers_says_that_there_are_none() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    simulator
        .kubectl(&[
            "-n",
            "kube-system",
            "wait",
            "--for=create",
            "deployment/coredns",
            "--timeout=20s",
        ])
        .succeeds();
    simulator
        .kubectl(&[
            "-n",
            "kube-system",
            "wait",
            "--for=condition=Available",
            "deployment/coredns",
            "--timeout=20s",
        ])
        .succeeds();
    for command in [
        &["logs", "deployment/coredns"][..],
        &["exec", "deployment/coredns", "--", "ls"],
    ] {
        let message = simulator
            .kubectl(&[&["-n", "kube-system"], command].concat())
            .fails();
        assert!(
            message.contains("not supported by the k3s simulator"),
            "{message}"
        );
    }
}

#[test]
fn a_watch_shows_the_node_becoming_ready() {
    let Some(simulator) = Simulator::start_for_kubectl(&["--simulate-node-ready-delay", "2s"])
    else {
        return;
    };
    simulator
        .kubectl(&["wait", "--for=create", "node/k3s-dev", "--timeout=20s"])
        .succeeds();
    let lines = simulator.kubectl_until(&["get", "nodes", "-w", "--no-headers"], |line| {
        line.contains(" Ready ")
    });
    assert!(
        lines.first().is_some_and(|line| line.contains("NotReady")),
        "{lines:?}"
    );
}

#[test]
fn a_definition_can_be_established_and_used() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    let definition = simulator.write(
        "definition.yaml",
        r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#,
    );
    let widget = simulator.write(
        "widget.yaml",
        "{apiVersion: example.org/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}",
    );
    simulator.kubectl(&["apply", "-f", &definition]).succeeds();
    simulator
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/widgets.example.org",
            "--timeout=20s",
        ])
        .succeeds();
    simulator.kubectl(&["apply", "-f", &widget]).succeeds();
    assert_eq!(
        simulator
            .kubectl(&["get", "widget", "w", "-o", "jsonpath={.spec.size}"])
            .succeeds(),
        "3"
    );
    simulator
        .kubectl(&["delete", "crd", "widgets.example.org"])
        .succeeds();
}
