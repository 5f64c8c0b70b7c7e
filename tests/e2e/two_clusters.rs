//! Two clusters at once, each in a world of its own.

use std::{fs, net::TcpStream};

use lkc_tests::TestEnv;
use serde_json::Value;

use crate::{PROGRAMS, has_kubectl};

#[test]
fn two_clusters_share_nothing_but_the_host() {
    if !has_kubectl() {
        return;
    }
    let env = TestEnv::new(PROGRAMS);
    let both = env.cluster("k3s-dev", 0, &[], "") + &env.cluster("k3s-capi", 1, &[], "");
    env.configure(&both);
    env.run(&["up", "--all"]).succeeds();

    let nodes = ["k3s-dev", "k3s-capi"].map(|cluster| {
        let nodes = [
            "kubectl",
            "--cluster",
            cluster,
            "get",
            "nodes",
            "-o",
            "json",
        ];
        env.run(&nodes).succeeds().json()
    });
    let address = |nodes: &Value| nodes["items"][0]["status"]["addresses"][0]["address"].clone();
    assert_eq!(
        nodes.each_ref().map(address),
        ["192.100.0.10", "192.100.0.11"]
    );
    let name = |nodes: &Value| nodes["items"][0]["metadata"]["name"].clone();
    assert_eq!(nodes.each_ref().map(name), ["k3s-dev", "k3s-capi"]);

    // Each API shows its own CA: the other's is not accepted.
    let [dev, capi] = [0, 1].map(|number| format!("https://127.0.0.1:{}", env.ports(number).api));
    env.kubectl("k3s-dev", ["--server", &dev, "version"])
        .run()
        .succeeds();
    let crossed = env
        .kubectl("k3s-dev", ["--server", &capi, "version"])
        .run()
        .exits(1);
    crossed.explains("certificate signed by unknown authority");

    // Both have the same guest ports; each forward leads to its own machine.
    let targets =
        ["k3s-dev", "k3s-capi"].map(|cluster| env.status(cluster)["forwards"][0]["target"].clone());
    assert_eq!(targets[0], targets[1]);

    let other = env.machine("k3s-capi");
    env.run(&["down", "k3s-dev"]).succeeds();
    TcpStream::connect(("127.0.0.1", env.ports(0).api)).expect_err("k3s-dev is down");
    env.kubectl("k3s-capi", ["get", "nodes"])
        .run()
        .succeeds()
        .prints("k3s-capi");
    assert!(other.is_alive());

    env.run(&["delete", "k3s-dev", "--yes"]).succeeds();
    assert!(!env.cluster_dir("k3s-dev").exists());
    assert!(fs::exists(env.kubeconfig("k3s-capi")).unwrap());
    env.kubectl("k3s-capi", ["get", "nodes"]).run().succeeds();
    let left = env.run(&["status", "--output", "json"]).succeeds().json();
    assert_eq!(left.as_array().unwrap().len(), 1, "{left:#}");
}
