//! A machine that is there already, reached over SSH.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    time::Duration,
};

use lkc_tests::{TestEnv, eventually, skipped, sshd::SshWorld};
use nix::sys::signal::Signal;

use crate::{PROGRAMS, env_with_cluster};

/// How long a link may take to come back.
const BACK: Duration = Duration::from_secs(30);

#[test]
fn a_cluster_over_ssh_comes_up_and_back() {
    let world = match SshWorld::new() {
        Ok(world) => world,
        Err(missing) => return skipped(&missing),
    };
    // Somebody else's machine, which lets in whoever has the key of its owner's host.
    let owner = env_with_cluster(&[]);
    let carrier = owner.status("k3s-dev")["link"]["carriers"][0].clone();
    let socket = carrier
        .as_str()
        .unwrap()
        .strip_prefix("unix:")
        .unwrap()
        .to_owned();
    let keys = owner
        .run(&["identity", "--output", "json"])
        .succeeds()
        .json();
    owner.run(&["daemon", "stop"]).succeeds();

    let key = world.plain_key("id");
    let sshd = world.sshd("dev", &[&key], "");
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let configuration = world.client_configuration(&block);
    let env = TestEnv::new(PROGRAMS);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(env.cluster_dir("k3s-dev"))
        .unwrap();
    let host_key = |env: &TestEnv| env.cluster_dir("k3s-dev").join("host.key");
    fs::copy(host_key(&owner), host_key(&env)).unwrap();
    let reach = |more: &str| {
        format!(
            "carriers = [\"ssh:dev\"]\nguest-key = {}\n\
             ssh = {{ config = {configuration:?}, socket = {socket:?}{more} }}",
            keys["guest"]["key"]
        )
    };

    env.configure(&env.cluster("k3s-dev", 0, &[], &reach("")));
    let refused = env.run(&["up", "--timeout", "20s"]).exits(5);
    refused.explains("its host key is not known: it shows SHA256:");
    env.run(&["down"]).succeeds();

    env.configure(&env.cluster("k3s-dev", 0, &[], &reach(", accept-new = true")));
    env.run(&["up"]).succeeds().prints("Cluster k3s-dev is up");
    env.run(&["doctor"]).succeeds().prints("ssh:dev");
    let nodes = || env.kubectl("k3s-dev", ["get", "nodes"]).run();
    nodes().succeeds().prints("k3s-dev");

    let connects = || env.status("k3s-dev")["link"]["connects"].as_u64().unwrap();
    let before = connects();
    for session in sshd.sessions() {
        session.signal(Signal::SIGKILL);
    }
    eventually("another link stands", BACK, || {
        let link = env.status("k3s-dev")["link"].clone();
        (link["state"] == "up" && connects() > before).then_some(())
    });
    nodes().succeeds().prints("k3s-dev");
    env.run(&["down"]).succeeds();
    sshd.has_no_sessions();
}
