//! From nothing to a cluster and back to nothing, as root and without any privilege.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use insta::assert_snapshot;
use lkc_tests::{TestEnv, User, eventually, loopbacks};

use crate::{PROGRAMS, can_be, done_lines, env_with_cluster, has_kubectl, next_second};

#[test]
fn a_cluster_comes_and_goes_as_whoever_runs_the_tests() {
    comes_and_goes(User::Me);
}

#[test]
fn a_cluster_comes_and_goes_without_privileges() {
    comes_and_goes(User::Nobody);
}

fn comes_and_goes(user: User) {
    if !can_be(user) || !has_kubectl() {
        return;
    }
    let env = TestEnv::of(user, PROGRAMS);
    env.configure_one(&[]);
    let up = env.run(&["up"]).succeeds();
    up.prints("Cluster k3s-dev is up after");
    assert_eq!(ready(&env), "True");
    for address in loopbacks() {
        let port = env.ports(0).api;
        TcpStream::connect((address, port)).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    kubeconfig_is_private(&env, user);
    let first_ca = cluster_ca(&env);
    let machine = env.machine("k3s-dev");

    env.run(&["up"])
        .succeeds()
        .prints("is up already; nothing to do");
    assert!(machine.is_alive());

    next_second();
    env.run(&["down"]).succeeds();
    assert!(!machine.is_alive());
    TcpStream::connect(("127.0.0.1", env.ports(0).api))
        .expect_err("nobody listens when it is down");
    env.run(&["kubectl", "get", "nodes"])
        .exits(4)
        .explains("cluster k3s-dev is down");
    env.run(&["down"]).succeeds();

    env.run(&["up"]).succeeds();
    assert_eq!(ready(&env), "True");
    assert_eq!(cluster_ca(&env), first_ca, "its data stayed");

    next_second();
    env.run(&["restart"]).succeeds();
    assert_eq!(cluster_ca(&env), first_ca, "its data stayed");

    env.run(&["delete"]).exits(2).explains("--yes");
    env.run(&["delete", "--yes"]).succeeds();
    assert!(!env.kubeconfig("k3s-dev").exists());
    assert!(!env.cluster_dir("k3s-dev").exists());
    env.run(&["status", "k3s-dev"]).exits(3);
    env.run(&["delete", "--yes", "k3s-dev"]).exits(3);
    env.run(&["daemon", "stop"]).succeeds();
    env.nothing_is_left();
}

fn ready(env: &TestEnv) -> String {
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    env.run(&["kubectl", "get", "nodes", "-o", path])
        .succeeds()
        .stdout
        .clone()
}

fn cluster_ca(env: &TestEnv) -> String {
    let path = "jsonpath={.clusters[0].cluster.certificate-authority-data}";
    let outcome = env
        .kubectl("k3s-dev", ["config", "view", "--raw", "-o", path])
        .run()
        .succeeds();
    assert!(outcome.stdout.len() > 100, "{outcome}");
    outcome.stdout.clone()
}

#[track_caller]
fn kubeconfig_is_private(env: &TestEnv, user: User) {
    let path = env.kubeconfig("k3s-dev");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert_eq!(metadata.uid(), user.uid());
    let names =
        "jsonpath={.clusters[*].name} {.users[*].name} {.contexts[*].name} {.current-context}";
    let view = env
        .kubectl("k3s-dev", ["config", "view", "-o", names])
        .run()
        .succeeds();
    assert_eq!(view.stdout, "k3s-dev k3s-dev k3s-dev k3s-dev");
    let printed = env.run(&["kubeconfig", "--path"]).succeeds().stdout.clone();
    assert_eq!(printed.trim_end(), path.to_str().unwrap());
    assert_eq!(
        env.run(&["kubeconfig"]).succeeds().stdout,
        fs::read_to_string(path).unwrap()
    );
}

#[test]
fn progress_where_nothing_can_be_drawn() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    let up = env.run(&["up", "--wait", "system"]).succeeds();
    assert_snapshot!(done_lines(&up.redacted_stderr()), @"
    ✓ sandbox    started TIME
    ✓ agent      lkc-guest 0.1.0, link up TIME
    ✓ network    192.100.0.10/24 on eth0 TIME
    ✓ k3s        running (simulated; no containers run) TIME
    ✓ api        /readyz ok TIME
    ✓ node       k3s-dev Ready TIME
    ✓ system     3 of 3 workloads available TIME
    ");
    assert_snapshot!(up.redacted_stdout(), @"
    Cluster k3s-dev is up after TIME.
    note: k3s is simulated (k3s-simulator v1.33.5+k3s-simulator): its API answers, but no container runs.
          A real k3s needs root and a `k3s` on PATH, or `--k3s PATH`.

      kubeconfig  $HOME/.local/state/lkc/clusters/k3s-dev/kubeconfig.yaml
      api         https://127.0.0.1:$API → 127.0.0.1:6443
      http        http://127.0.0.1:$HTTP → 127.0.0.1:80
      https       https://127.0.0.1:$HTTPS → 127.0.0.1:443
      ssh         127.0.0.1:$SSH → 127.0.0.1:22

    Next: lkc-host kubectl get nodes
          export KUBECONFIG=$HOME/.local/state/lkc/clusters/k3s-dev/kubeconfig.yaml
    [EOF]
    ");
    let again = env.run(&["up", "--wait", "system"]).succeeds();
    assert_snapshot!(again.redacted_stdout().lines().next().unwrap(), @"Cluster k3s-dev is up already; nothing to do.");
    let status = env.run(&["status"]).succeeds();
    assert_snapshot!(status.redacted_stdout(), @"
    CLUSTER  INDEX  PHASE  READY   API                      DETAIL
    k3s-dev  0      up     system  https://127.0.0.1:$API  simulated k3s
    [EOF]
    ");
    eventually("the API was probed", Duration::from_secs(30), || {
        (env.status("k3s-dev")["forwards"][0]["probe"]["ok"] == true).then_some(())
    });
    let status = env.run(&["status", "k3s-dev"]).succeeds();
    // Whoever runs the tests decides which kind it is.
    let stdout = status
        .redacted_stdout()
        .replace("in a user namespace", "as root");
    // What the node is depends on this machine.
    let (node, lines): (Vec<_>, Vec<_>) = stdout
        .split_inclusive('\n')
        .partition(|line| line.starts_with("  node ") || line.starts_with("  in use "));
    let [node, in_use] = node[..] else {
        panic!("{stdout}");
    };
    assert!(node.starts_with("  node        k3s-dev, "), "{stdout}");
    assert!(in_use.starts_with("  in use      memory "), "{stdout}");
    let stdout = lines.concat();
    assert_snapshot!(stdout, @"
    k3s-dev  up
      index       0
      machine     sandbox as root
      link        up, unix:$ENV/run/lkc/k3s-dev/agent.sock
      agent       lkc-guest 0.1.0
      k3s         k3s-simulator v1.33.5+k3s-simulator, simulated: no container runs
      kubeconfig  $HOME/.local/state/lkc/clusters/k3s-dev/kubeconfig.yaml
      api         this cluster answers on this host (TIME)

    Steps
      ✓ sandbox    started TIME
      ✓ agent      lkc-guest 0.1.0, link up TIME
      ✓ network    192.100.0.10/24 on eth0 TIME
      ✓ k3s        running (simulated; no containers run) TIME
      ✓ api        /readyz ok TIME
      ✓ node       k3s-dev Ready TIME
      ✓ system     3 of 3 workloads available TIME

    FORWARD  PROTOCOL  LISTENS ON                   GUEST           STATE      OPEN  PARKED  TOTAL  REFUSED  FAILED  DROPPED  SENT  RECEIVED  LAST ERROR
    api      tcp       127.0.0.1:$API,[::1]:$API  127.0.0.1:6443  listening  0     0       0      0        0       0        0     0
    http     tcp       127.0.0.1:$HTTP,[::1]:$HTTP  127.0.0.1:80    listening  0     0       0      0        0       0        0     0
    https    tcp       127.0.0.1:$HTTPS,[::1]:$HTTPS  127.0.0.1:443   listening  0     0       0      0        0       0        0     0
    ssh      tcp       127.0.0.1:$SSH,[::1]:$SSH  127.0.0.1:22    listening  0     0       0      0        0       0        0     0
    [EOF]
    ");
    let quiet = env.run(&["up", "--quiet"]).succeeds();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn events_for_programs() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    let up = env.run(&["up", "--output", "json"]).succeeds();
    let events = up.json_lines();
    let (last, rest) = events.split_last().unwrap();
    assert_eq!(last["event"], "done", "{up}");
    assert_eq!(last["changed"], true, "{up}");
    assert!(rest.len() > 3, "{up}");
    for event in rest {
        assert_eq!(event["event"], "status", "{up}");
        assert_eq!(event["cluster"]["name"], "k3s-dev", "{up}");
    }
    let again = env.run(&["up", "--output", "json"]).succeeds().json_lines();
    assert_eq!(again.last().unwrap()["changed"], false);

    let status = env.status("k3s-dev");
    assert_eq!(status["phase"], "up");
    assert_eq!(status["machine"]["running"], true);
    assert_eq!(status["link"]["state"], "up");
    assert_eq!(status["k3s"]["simulated"], true);
    let names: Vec<_> = status["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "sandbox",
            "agent",
            "network",
            "k3s",
            "api",
            "registered",
            "node",
            "system"
        ]
    );
    let forwards: Vec<_> = status["forwards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|forward| forward["name"].as_str().unwrap())
        .collect();
    assert_eq!(forwards, ["api", "http", "https", "ssh"]);
    for forward in status["forwards"].as_array().unwrap() {
        let listen: Vec<_> = forward["listen"]
            .as_array()
            .unwrap()
            .iter()
            .map(|listen| listen.as_str().unwrap())
            .collect();
        assert!(
            listen[0].starts_with("127.0.0.1:")
                && listen[1].starts_with("[::1]:")
                && listen.len() == 2,
            "{listen:?}"
        );
    }
}

#[test]
fn the_machine_is_a_world_of_its_own() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let machine = env.machine("k3s-dev");
    for namespace in ["net", "mnt", "pid", "uts", "ipc"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
        assert_ne!(of(&machine.pid.to_string()), of("self"), "{namespace}");
    }
    let addresses = env
        .run(&[
            "kubectl",
            "get",
            "node",
            "k3s-dev",
            "-o",
            "jsonpath={.status.addresses[*].address}",
        ])
        .succeeds();
    assert_eq!(addresses.stdout, "192.100.0.10 k3s-dev");
    let routes = fs::read_to_string(format!("/proc/{}/net/route", machine.pid)).unwrap();
    assert!(
        routes.lines().any(|line| line.starts_with("eth0")),
        "{routes}"
    );
}

#[test]
fn the_users_own_kubeconfig_gets_and_loses_our_entries_only() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let own = env.home().join(".kube/config");
    let foreign = "apiVersion: v1\nkind: Config\ncurrent-context: work\nclusters:\n- name: work\n  cluster:\n    server: https://127.0.0.1:1\nusers:\n- name: work\n  user: {}\ncontexts:\n- name: work\n  context: {cluster: work, user: work}\n";
    fs::create_dir(env.home().join(".kube")).unwrap();
    fs::write(&own, foreign).unwrap();
    let kubectl = |args: &[&str]| {
        let outcome = env.program("kubectl").args(args).run().succeeds();
        outcome.stdout.trim().to_owned()
    };
    env.run(&["kubeconfig", "--merge"]).succeeds();
    assert_eq!(
        kubectl(&["config", "get-contexts", "-o", "name"]),
        "k3s-dev\nwork"
    );
    assert_eq!(kubectl(&["config", "current-context"]), "work");
    let nodes = kubectl(&["--context", "k3s-dev", "get", "nodes", "-o", "name"]);
    assert_eq!(nodes, "node/k3s-dev");
    env.run(&["kubeconfig", "--merge", "--use"]).succeeds();
    assert_eq!(kubectl(&["config", "current-context"]), "k3s-dev");
    env.run(&["kubeconfig", "--unmerge"]).succeeds();
    assert_eq!(kubectl(&["config", "get-contexts", "-o", "name"]), "work");
    assert!(!own.with_extension("lock").exists());
}
