//! A guest that means harm, and others who have no business here.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use lkc_protocol::{
    identity::{Identity, PublicKey},
    link::{self, Encrypt, LinkOptions},
    session::Limits,
};
use lkc_tests::{TestEnv, User};

use crate::{PROGRAMS, can_be, env_with_cluster, has_kubectl, step};

#[test]
fn a_kubeconfig_with_a_wrong_certificate() {
    refused(
        "wrong-pem",
        "client-certificate-data in the kubeconfig of k3s cannot be used",
    );
}

#[test]
fn a_kubeconfig_of_ten_megabytes() {
    refused(
        "ten-megabytes",
        "the kubeconfig of k3s has more than 262144 bytes",
    );
}

#[test]
fn a_kubeconfig_that_is_a_bomb() {
    refused("yaml-bomb", "the kubeconfig of k3s is no kubeconfig");
}

#[test]
fn a_kubeconfig_with_terminal_escapes() {
    refused("terminal-escapes", "is not an https URL with a port");
}

#[test]
fn a_kubeconfig_with_an_exec_plugin() {
    refused(
        "exec-plugin",
        "has exec, only values in the file itself are used",
    );
    assert!(!Path::new("/tmp/lkc-exec-plugin-ran").exists());
}

/// The guest holds what nobody should use: it is not used, and the ladder says why.
#[track_caller]
fn refused(kind: &str, why: &str) {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[&format!("simulate-hostile = {kind:?}")]);
    let up = env.lkc(["up", "--timeout", "2s"]).run().exits(6);
    up.explains(why);
    env.run(&["status", "k3s-dev"])
        .succeeds()
        .prints("kubeconfig  not written yet");
    let status = env.status("k3s-dev");
    let api = step(&status, "api");
    assert!(api["detail"].as_str().unwrap().contains(why), "{api:#}");
    assert!(!env.kubeconfig("k3s-dev").exists(), "{status:#}");
    env.run(&["kubeconfig"]).exits(3);
    for source in ["k3s", "agent", "machine", "daemon"] {
        env.run(&["logs", "--source", source]).succeeds();
    }
    let agent = env.process_in("k3s-dev", "lkc-guest").unwrap();
    let memory = fs::read_to_string(format!("/proc/{}/status", agent.pid)).unwrap();
    let most = memory
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kilobytes: u64 = most.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100_000, "{most}");
}

#[test]
fn an_agent_lets_in_nobody_but_its_host() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let socket = env.runtime_dir().join("k3s-dev/agent.sock");
    let directory = env.cluster_dir("k3s-dev");
    let guest: PublicKey = fs::read_to_string(directory.join("guest.pub"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let host =
        Identity::from_pem(&fs::read_to_string(directory.join("host.key")).unwrap()).unwrap();
    let connect = |identity: Identity, guest: PublicKey| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let carrier = tokio::net::UnixStream::connect(&socket).await.unwrap();
            let options = LinkOptions {
                identity: Arc::new(identity),
                version: "0.0.0".into(),
                node: "stranger".into(),
                boot_id: [7; 16],
                encrypt: Encrypt::Auto,
                locality: link::Locality::Local,
                limits: Limits::default(),
            };
            let link = tokio::time::timeout(
                Duration::from_secs(20),
                link::connect(carrier, guest, &options),
            )
            .await;
            link.unwrap().map(drop)
        })
    };
    let refused = connect(Identity::generate().unwrap(), guest).unwrap_err();
    println!("without its key: {refused}");
    let other = Identity::generate().unwrap().public_key();
    let mistaken = connect(host, other).unwrap_err();
    println!("another guest: {mistaken}");
    // It serves its own host all the same.
    env.run(&["kubectl", "get", "nodes"]).succeeds();
    assert_eq!(env.status("k3s-dev")["link"]["connects"], 1);
}

#[test]
fn another_user_gets_no_word_from_the_daemon() {
    if !can_be(User::Stranger) {
        return;
    }
    let env = TestEnv::of(User::Nobody, PROGRAMS);
    env.configure_one(&[]);
    env.run(&["status"]).succeeds();
    let socket = env.runtime_dir().join("control.sock");
    let ask = |user: User| {
        let script = "
            use IO::Socket::UNIX;
            my $socket = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"no connection: $!\\n\";
            print $socket '{\"version\":\"0.1.0\",\"request\":{\"type\":\"daemon\"}}', \"\\n\";
            print while <$socket>;";
        env.program_as(user, "perl")
            .args(["-e", script])
            .args([&socket])
            .run()
    };
    ask(User::Nobody).succeeds().prints("\"pid\"");
    ask(User::Stranger).exits(13).explains("Permission denied");
    // Whoever opens the directory and the socket still answers their own user only.
    for path in [env.root().join("run"), env.runtime_dir()] {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    let stranger = ask(User::Stranger);
    assert_eq!(stranger.stdout, "", "{stranger}");
    ask(User::Nobody).succeeds().prints("\"pid\"");
}
