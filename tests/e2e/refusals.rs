//! What is refused before anything starts, and how it is explained.

use std::{fs, io::Write, net::TcpListener, time::Duration};

use insta::assert_snapshot;
use lkc_tests::{TestEnv, User, eventually};

use crate::{PROGRAMS, can_be, env_with_cluster};

#[test]
fn a_port_that_somebody_else_has() {
    let env = TestEnv::new(PROGRAMS);
    let simulator = env.root().join("bin/k3s-simulator");
    // The default ports of an index that no other test uses, on a host where others may.
    let (index, taken) = (60..=88)
        .find_map(|index| Some((index, TcpListener::bind(("127.0.0.1", 6443 + index)).ok()?)))
        .expect("an index whose port is free");
    let port = taken.local_addr().unwrap().port().to_string();
    let index = index.to_string();
    let up = env
        .lkc(["up", "--index", &index, "--k3s"])
        .args([&simulator])
        .run()
        .exits(7);
    let holder = fs::read_to_string("/proc/self/comm").unwrap();
    let own_pid = std::process::id().to_string();
    for part in [&*port, &own_pid, holder.trim(), "--index"] {
        up.explains(part);
    }
    let redacted = up.redacted_stderr();
    let redacted = redacted
        .replace(holder.trim(), "HOLDER")
        .replace(&port, "$PORT");
    // Which index is free depends on what else runs on this host.
    let (hints, rest): (Vec<_>, Vec<_>) = redacted
        .lines()
        .partition(|line| line.starts_with("hint: set `index = "));
    assert_eq!(hints.len(), 1, "{up}");
    assert_snapshot!(rest.join("\n"), @"
      … sandbox    starting TIME
      ✗ sandbox    port $PORT of forward api is taken by HOLDER (pid PID)
    error: port $PORT of forward api is taken by HOLDER (pid PID)

    [EOF]
    ");
    assert_eq!(env.status("k3s-dev")["machine"]["running"], false);
    drop(taken);
    env.lkc(["up", "--index", &index, "--k3s"])
        .args([&simulator])
        .run()
        .succeeds();
}

#[test]
fn a_configuration_that_cannot_be_read() {
    let env = TestEnv::new(PROGRAMS);
    env.configure("[cluster.k3s-dev]\nindex = 200\n");
    let up = env.run(&["up"]).exits(10);
    assert_snapshot!(up.redacted_stderr(), @"
    error: $ENV/project/lkc.toml:2:9: 200 is not an index: they go from 0 to 89

           ╭─[$ENV/project/lkc.toml:2:9]
         1 │ [cluster.k3s-dev]
         2 │ index = 200
           ·         ───
           ╰────
    [EOF]
    ");
    env.configure(
        "[cluster.a]\nindex = 0\n[cluster.b]\naddress = \"192.100.0.10/24\"\nindex = 1\n",
    );
    let up = env.run(&["up", "a"]).exits(10);
    assert_snapshot!(up.redacted_stderr(), @r#"
    error: $ENV/project/lkc.toml:4:11: the clusters b and a have the same address 192.100.0.10

           ╭─[$ENV/project/lkc.toml:2:9]
         1 │ [cluster.a]
         2 │ index = 0
           ·         ┬
           ·         ╰── a
         3 │ [cluster.b]
         4 │ address = "192.100.0.10/24"
           ·           ────────┬────────
           ·                   ╰── b
         5 │ index = 1
           ╰────

    hint: write another `address` in [cluster.b]
    [EOF]
    "#);
    env.configure("[cluster.k3s-dev]\nindex = \n");
    let up = env.run(&["up", "--output", "json"]).exits(10);
    assert_eq!(up.json_lines()[0]["error"]["code"], 10, "{up}");
}

#[test]
fn a_cluster_that_nobody_knows() {
    let env = env_with_cluster(&[]);
    for args in [
        &["status", "k3s-devv"][..],
        &["wait", "nothing"],
        &["kubeconfig", "nothing"],
        &["down", "nothing"],
        &["forward", "nothing"],
        &["logs", "nothing"],
        &["restart", "nothing"],
        &["kubectl", "--cluster", "nothing", "get", "nodes"],
    ] {
        let outcome = env.run(args).exits(3);
        assert!(outcome.stderr.starts_with("error: "), "{outcome}");
        assert!(outcome.stderr.contains("hint: "), "{outcome}");
    }
    assert_snapshot!(env.run(&["status", "k3s-devv"]).redacted_stderr(), @"
    error: there is no cluster k3s-devv

    hint: `lkc-host status` lists the clusters, `lkc-host up` makes one
    [EOF]
    ");
    assert_snapshot!(env.run(&["kubectl", "--cluster", "nothing", "get", "nodes"]).redacted_stderr(), @"
    error: there is no cluster nothing

    hint: `lkc-host status` lists the clusters, `lkc-host up` makes one
    [EOF]
    ");
}

#[test]
fn a_command_line_that_is_wrong() {
    let env = TestEnv::new(PROGRAMS);
    for args in [
        &["upp"][..],
        &["up", "--index", "90"],
        &["up", "K3S"],
        &["wait", "--for", "nodes"],
        &["--output", "yaml", "status"],
    ] {
        let outcome = env.run(args).exits(2);
        assert!(outcome.stderr.starts_with("error: "), "{outcome}");
    }
    assert!(
        !env.state_dir().exists() && !env.runtime_dir().exists(),
        "nothing was made"
    );
}

/// In a user namespace in which no further one may be made.
#[test]
fn a_kernel_that_allows_no_user_namespaces() {
    if !can_be(User::Nobody) {
        return;
    }
    let env = TestEnv::of(User::Nobody, PROGRAMS);
    env.configure_one(&[]);
    let script = "exec 9</dev/null && read go && echo 0 >/proc/sys/user/max_user_namespaces && \
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all lkc-host up";
    let (input, mut go) = std::io::pipe().unwrap();
    let up = env
        .program_as(User::Me, "unshare")
        .args(["--user", "--keep-caps", "sh", "-c", script])
        .stdin(input)
        .spawn();
    let pid = up.pid();
    // Not while it starts: a shell whose two user ids differ at that moment takes the lesser one.
    let ready = format!("/proc/{pid}/fd/9");
    eventually("the shell runs", Duration::from_secs(10), || {
        fs::symlink_metadata(&ready).ok()
    });
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), "0 0 65536").unwrap();
    }
    go.write_all(b"go\n").unwrap();
    let up = up.finish().exits(11);
    up.explains("user.max_user_namespaces");
    assert_snapshot!(up.redacted_stderr(), @"
      … sandbox    starting TIME
      ✗ sandbox    this kernel gives us no user namespace: cannot enter a user namespace: no more of them are allowed
    error: this kernel gives us no user namespace: cannot enter a user namespace: no more of them are allowed

    hint: allow them with `sudo sysctl user.max_user_namespaces=15000`, or run lkc-host as root
    [EOF]
    ");
}
