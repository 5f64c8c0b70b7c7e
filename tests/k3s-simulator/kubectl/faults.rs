//! Starts that fail, ends that are asked for, and what changes while the server runs.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::harness::{Simulator, free_port};

#[test]
fn the_kubeconfig_is_there_before_the_api() {
    let simulator = Simulator::start(&["--simulate-api-delay", "1m"]);
    simulator.wait_for_log("Wrote kubeconfig");
    let mode = simulator
        .kubeconfig()
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(TcpStream::connect(("127.0.0.1", simulator.port)).is_err());
}

#[test]
fn a_signal_ends_it_within_a_second_even_while_it_waits() {
    for flags in [&["--simulate-api-delay", "1m"][..], &[]] {
        let mut simulator = Simulator::start(flags);
        let awaited = if flags.is_empty() {
            "k3s is up and running"
        } else {
            "Wrote kubeconfig"
        };
        simulator.wait_for_log(awaited);
        let asked = Instant::now();
        simulator.signal(Signal::SIGTERM);
        assert!(simulator.wait().success());
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
}

#[test]
fn readiness_is_told_to_the_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let simulator = Simulator::start_in(directory, free_port(), &[]);
    let mut buffer = [0; 32];
    let length = receiver.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1\n");
    simulator.wait_until_up();
}

#[test]
fn starts_that_cannot_work_fail_at_once_and_say_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (flags, message) in [
        (
            &["--https-listen-port", port.as_str()][..],
            "Address already in use",
        ),
        (
            &["--node-ip", "192.0.2.77"],
            "node-ip 192.0.2.77: it is not an address of this machine",
        ),
        (
            &["--flannel-iface", "nope0"],
            "unable to find interface nope0",
        ),
        (&["--nod-ip", "x"], "flag provided but not defined: -nod-ip"),
        (&["--simulate-fail", "no such database"], "no such database"),
        (
            &["--simulate-crash-after", "50ms"],
            "the script ends this run",
        ),
    ] {
        let mut simulator = Simulator::start(flags);
        assert!(!simulator.wait().success());
        let log = simulator.log();
        assert!(
            log.contains("level=fatal") && log.contains(message),
            "{log}"
        );
    }
}

#[test]
fn the_first_starts_of_a_script_fail_and_the_next_works() {
    let mut directory = tempfile::tempdir().unwrap();
    let flags = ["--simulate-fail", "not yet", "--simulate-fail-times", "2"];
    for _ in 0..2 {
        let mut simulator = Simulator::start_in(directory, free_port(), &flags);
        assert!(!simulator.wait().success());
        directory = std::mem::replace(&mut simulator.directory, tempfile::tempdir().unwrap());
    }
    let simulator = Simulator::start_in(directory, free_port(), &flags);
    simulator.wait_until_up();
}

#[test]
fn a_hangup_renews_the_credentials_and_old_ones_still_work() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    let before = std::fs::read_to_string(simulator.kubeconfig()).unwrap();
    simulator.signal(Signal::SIGHUP);
    simulator.wait_for_log("Renewed the client certificate");
    assert_ne!(
        std::fs::read_to_string(simulator.kubeconfig()).unwrap(),
        before
    );
    simulator.kubectl(&["get", "nodes"]).succeeds();
    std::fs::write(simulator.kubeconfig(), before).unwrap();
    simulator.kubectl(&["get", "nodes"]).succeeds();
}

#[test]
fn credentials_of_another_cluster_are_unauthorized() {
    let Some(simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    let other = Simulator::start(&[]);
    other.wait_until_up();
    let credentials = |simulator: &Simulator| {
        let text = std::fs::read_to_string(simulator.kubeconfig()).unwrap();
        text.split_once("users:").unwrap().1.to_owned()
    };
    let own = std::fs::read_to_string(simulator.kubeconfig()).unwrap();
    let mixed = own.replace(&credentials(&simulator), &credentials(&other));
    std::fs::write(simulator.kubeconfig(), mixed).unwrap();
    let message = simulator.kubectl(&["get", "nodes"]).fails();
    assert!(
        message.contains("nauthorized") || message.contains("must be logged in"),
        "{message}"
    );
}

#[test]
fn objects_survive_a_restart() {
    let Some(mut simulator) = Simulator::start_for_kubectl(&[]) else {
        return;
    };
    simulator
        .kubectl(&["create", "namespace", "kept"])
        .succeeds();
    simulator.signal(Signal::SIGTERM);
    assert!(simulator.wait().success());
    let directory = std::mem::replace(&mut simulator.directory, tempfile::tempdir().unwrap());
    let again = Simulator::start_in(directory, simulator.port, &[]);
    again.wait_until_up();
    again.kubectl(&["get", "namespace", "kept"]).succeeds();
}
