//! A cluster that is declared without a pod network.

use std::fs;

use insta::assert_snapshot;
use lkc_tests::TestEnv;

use crate::{PROGRAMS, has_kubectl, node_has_said_why, step};

const CILIUM: &str = "\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: cilium
  namespace: kube-system
spec:
  selector:
    matchLabels: {k8s-app: cilium}
  template:
    metadata:
      labels: {k8s-app: cilium}
    spec:
      containers:
      - name: cilium-agent
        image: quay.io/cilium/cilium:v1.18.0
";

#[test]
fn it_stops_at_the_api_and_says_what_to_do() {
    if !has_kubectl() {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    env.configure(&env.cluster("k3s-dev", 0, &[], "cni = \"none\""));
    let up = env.run(&["up"]).succeeds();
    assert_snapshot!(up.redacted_stdout(), @"
    Cluster k3s-dev is up after TIME.
    note: k3s is simulated (k3s-simulator v1.33.5+k3s-simulator): its API answers, but no container runs.
          A real k3s needs root and a `k3s` on PATH, or `--k3s PATH`.

      kubeconfig  $HOME/.local/state/lkc/clusters/k3s-dev/kubeconfig.yaml
      api         https://127.0.0.1:$API → 127.0.0.1:6443
      http        http://127.0.0.1:$HTTP → 127.0.0.1:80
      https       https://127.0.0.1:$HTTPS → 127.0.0.1:443
      ssh         127.0.0.1:$SSH → 127.0.0.1:22

    No pod network (cni: none): the node becomes Ready once you install one, for example Cilium:
      export KUBECONFIG=$(lkc-host kubeconfig k3s-dev --path)
      cilium install --set k8sServiceHost=127.0.0.1 --set k8sServicePort=6443
      lkc-host wait k3s-dev --for node
    (127.0.0.1:6443 is the API as the node itself sees it, whatever the port on this host.)
    [EOF]
    ");
    env.run(&["up"]).succeeds().prints("nothing to do");
    env.run(&["wait"]).succeeds();
    node_has_said_why(&env);
    assert_ne!(step(&env.status("k3s-dev"), "node")["state"], "ready");
    let wait = env
        .lkc(["wait", "--for", "node", "--timeout", "300ms"])
        .run()
        .exits(6);
    assert_snapshot!(wait.redacted_stderr(), @"
      ✓ sandbox    started TIME
      ✓ agent      lkc-guest 0.1.0, link up TIME
      ✓ network    192.100.0.10/24 on eth0 TIME
      ✓ k3s        running (simulated; no containers run) TIME
      ✓ api        /readyz ok TIME
      … node       KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized TIME
    error: k3s-dev did not reach node within TIME: node is progressing: KubeletNotReady: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized

    hint: install a pod network: this cluster comes without one, and its node is not ready before
    hint: `lkc-host wait k3s-dev --for node` goes on waiting: the cluster does not stop
    [EOF]
    ");

    let manifest = env.work().join("cilium.yaml");
    fs::write(&manifest, CILIUM).unwrap();
    env.lkc(["kubectl", "apply", "-f"])
        .args([&manifest])
        .run()
        .succeeds()
        .prints("daemonset.apps/cilium created");
    env.run(&["wait", "--for", "node", "--timeout", "30s"])
        .succeeds();
    env.run(&[
        "wait",
        "--for",
        "daemonset/kube-system/cilium",
        "--timeout",
        "30s",
    ])
    .succeeds();
}
