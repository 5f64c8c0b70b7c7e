//! Every carrier, the same test.

use std::{fs, path::Path};

use lkc_host::carrier::{Route, ssh::Options};
use lkc_tests::{
    carriers::{PATIENCE, guest::Guest, peers, traffic},
    eventually, skipped,
    sshd::{SshWorld, Sshd},
};

use crate::PROGRAMS;

/// How a link ends up on a carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Plain,
    Encrypted,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix() {
    let guest = Guest::start(PROGRAMS);
    let route = route(&[], &format!("unix:{}", guest.path("agent.sock").display()));
    holds(guest, &route, Bytes::Plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unix_that_is_forwarded() {
    let guest = Guest::start(PROGRAMS);
    peers::proxy(&guest.path("proxy.sock"), guest.path("agent.sock"));
    let route = route(&[], &format!("unix:{}", guest.path("proxy.sock").display()));
    holds(guest, &route, Bytes::Encrypted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp() {
    let guest = Guest::start(PROGRAMS);
    let route = route(&[], &format!("tcp:{}", guest.tcp));
    holds(guest, &route, Bytes::Encrypted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hybrid() {
    let guest = Guest::start(PROGRAMS);
    peers::monitor(&guest.path("vm.vsock"), guest.path("agent.sock"));
    let route = route(
        &[],
        &format!("hybrid:{}:5000", guest.path("vm.vsock").display()),
    );
    // The monitor stands for a hypervisor, and the agent's own socket for its vsock.
    holds(guest, &route, Bytes::Plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serial() {
    let guest = Guest::start(PROGRAMS);
    peers::serial(&guest.path("serial.sock"), guest.path("lkc.agent.0"));
    let route = route(
        &[],
        &format!("serial:{}", guest.path("serial.sock").display()),
    );
    holds(guest, &route, Bytes::Encrypted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec() {
    let guest = Guest::start(PROGRAMS);
    let route = route(&[], &stdio(&guest));
    holds(guest, &route, Bytes::Encrypted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_behind_a_login_script_that_talks() {
    let guest = Guest::start(PROGRAMS);
    let stdio = stdio(&guest);
    let command = stdio.strip_prefix("exec:").unwrap();
    let script = format!("echo Welcome to k3s; echo 'Last login: never' >&2; exec {command}");
    let route = route(&[], &format!("exec:sh -c \"{script}\""));
    holds(guest, &route, Bytes::Encrypted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hops() {
    let guest = Guest::start(PROGRAMS);
    let path = format!(
        "exec:env PATH={}:/usr/bin:/bin",
        directory(&guest).display()
    );
    for (via, carrier) in [
        (
            vec![path.as_str()],
            format!("unix:{}", guest.path("agent.sock").display()),
        ),
        (
            vec![path.as_str(), "exec:nice"],
            format!("tcp:{}", guest.tcp),
        ),
        (vec!["exec:env", path.as_str()], stdio(&guest)),
    ] {
        let route = route(&via, &carrier);
        let connected = guest.until_connected(&route).await;
        assert!(connected.link.is_encrypted(), "{route}");
        traffic::pass(&connected.link).await;
        connected.close().await;
    }
    let route = route(&[&path], &format!("tcp:{}", guest.tcp));
    holds(guest, &route, Bytes::Encrypted).await;
}

/// A server that a key opens, and a route over it; the folder and the server live as long as these.
fn over_ssh(settings: &str, via: &[&str], carrier: &str) -> Option<(SshWorld, Sshd, Route)> {
    let world = SshWorld::new()
        .inspect_err(|missing| skipped(missing))
        .ok()?;
    let key = world.plain_key("id");
    let sshd = world.sshd("dev", &[&key], settings);
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    let mut route = route(via, carrier);
    route.ssh.config = Some(world.client_configuration(&block));
    route.ssh.known_hosts = Some(world.path("own_known_hosts"));
    Some((world, sshd, route))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_to_the_socket() {
    let guest = Guest::start(PROGRAMS);
    let Some((_world, sshd, mut route)) = over_ssh("", &[], "ssh:dev") else {
        return;
    };
    route.ssh.socket = Some(guest.path("agent.sock"));
    holds(guest, &route, Bytes::Encrypted).await;
    sshd.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_to_a_command_behind_a_login_script_that_talks() {
    let guest = Guest::start(PROGRAMS);
    let noisy = "AllowStreamLocalForwarding no\nMaxSessions 1\n\
                 ForceCommand sh -c 'echo Welcome; echo nvm is old >&2; eval exec \"$SSH_ORIGINAL_COMMAND\"'\n";
    let Some((_world, sshd, mut route)) = over_ssh(noisy, &[], "ssh:dev") else {
        return;
    };
    route.ssh.socket = Some(guest.path("agent.sock"));
    route.ssh.command = Some(stdio(&guest).strip_prefix("exec:").unwrap().to_owned());
    holds(guest, &route, Bytes::Encrypted).await;
    sshd.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_as_a_hop() {
    let guest = Guest::start(PROGRAMS);
    for carrier in [
        format!("tcp:{}", guest.tcp),
        format!("unix:{}", guest.path("agent.sock").display()),
        stdio(&guest),
    ] {
        let Some((_world, sshd, route)) = over_ssh("", &["ssh:dev"], &carrier) else {
            return;
        };
        let connected = guest.until_connected(&route).await;
        assert!(connected.link.is_encrypted(), "{route}");
        traffic::pass(&connected.link).await;
        connected.close().await;
        sshd.has_no_sessions();
    }
    peers::monitor(&guest.path("vm.vsock"), guest.path("agent.sock"));
    let hybrid = format!("hybrid:{}:5000", guest.path("vm.vsock").display());
    let Some((_world, sshd, route)) = over_ssh("", &["ssh:dev"], &hybrid) else {
        return;
    };
    holds(guest, &route, Bytes::Encrypted).await;
    sshd.has_no_sessions();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_and_then_a_command_as_hops() {
    let guest = Guest::start(PROGRAMS);
    let path = format!(
        "exec:env PATH={}:/usr/bin:/bin",
        directory(&guest).display()
    );
    let carrier = format!("tcp:{}", guest.tcp);
    let Some((_world, sshd, route)) = over_ssh("", &["ssh:dev", &path], &carrier) else {
        return;
    };
    holds(guest, &route, Bytes::Encrypted).await;
    sshd.has_no_sessions();
}

/// The one body: traffic, a second link after the first, one after the agent was killed, and nothing
/// left of any of them.
async fn holds(mut guest: Guest, route: &Route, bytes: Bytes) {
    let first = guest.until_connected(route).await;
    let found = if first.link.is_encrypted() {
        Bytes::Encrypted
    } else {
        Bytes::Plain
    };
    assert_eq!(found, bytes);
    traffic::pass(&first.link).await;
    first.close().await;
    let second = guest.until_connected(route).await;
    traffic::ping(&second.link).await;
    guest.restart();
    second.lost().await;
    let third = guest.until_connected(route).await;
    traffic::pass(&third.link).await;
    third.close().await;
    let directory = directory(&guest);
    eventually("no command is left", PATIENCE, || {
        (commands_in(&directory) <= 1).then_some(())
    });
}

fn route(via: &[&str], carrier: &str) -> Route {
    Route {
        via: via.iter().map(|hop| hop.parse().unwrap()).collect(),
        carrier: carrier.parse().unwrap(),
        ssh: Options::default(),
    }
}

fn stdio(guest: &Guest) -> String {
    format!(
        "exec:{} stdio --socket {}",
        guest.path("lkc-guest").display(),
        guest.path("agent.sock").display()
    )
}

fn directory(guest: &Guest) -> std::path::PathBuf {
    guest.path("agent.sock").parent().unwrap().to_owned()
}

/// Processes whose command line names the directory; the agent is one.
fn commands_in(directory: &Path) -> usize {
    let name = directory.display().to_string();
    let named = |process: &fs::DirEntry| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&name)
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(Result::ok)
        .filter(named)
        .count()
}
