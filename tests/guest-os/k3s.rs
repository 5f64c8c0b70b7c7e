//! k3s as a unit of systemd: started, restarted, failing, refused.

use lkc_protocol::message::{Cni, ConfigureK3s, K3sRole, Rung, RungState};

use crate::{host::Host, machine::Machine, network::block_on, trial, wire::single};

/// A drop-in of k3s' unit, for this boot.
const ADDED: &str = "/run/systemd/system/k3s.service.d/added.conf";

/// k3s on a node with this address.
pub(crate) fn configuration(node_ip: &str, settings: &[&str]) -> ConfigureK3s {
    ConfigureK3s {
        role: K3sRole::Server,
        node_name: "k3s-dev".to_owned(),
        node_ip: node_ip.to_owned(),
        flannel_interface: None,
        cni: Cni::Default,
        tls_san: Vec::new(),
        disable: Vec::new(),
        settings: settings.iter().map(|&text| text.to_owned()).collect(),
        server_url: None,
        token: None,
    }
}

fn add(machine: &Machine, text: &str) {
    machine.give(ADDED, text);
    machine.run("systemctl daemon-reload");
}

fn main_pid(machine: &Machine) -> u32 {
    let text = machine.run("systemctl show -P MainPID k3s");
    text.trim().parse().unwrap()
}

#[test]
fn it_is_started_once_and_restarted_for_a_changed_address() {
    let Some(machine) = Machine::boot(2) else {
        return;
    };
    block_on(async {
        trial::keep(&machine, trial::dual_wanted(1)).await;
        let host = Host::local(&machine).await;
        let first = configuration("192.100.0.10", &[]);
        let told = host.ask(&first).await.unwrap();
        assert!(told.changed && told.started, "{told:?}");
        host.until(Rung::Api, |rung| rung.state == RungState::Ready)
            .await;
        let pid = main_pid(&machine);
        let told = host.ask(&first).await.unwrap();
        assert!(!told.changed && !told.started, "{told:?}");
        assert_eq!(main_pid(&machine), pid);

        machine.run("ip addr add 192.100.0.11/24 dev k8snet");
        let moved = configuration("192.100.0.11", &[]);
        let told = host.ask(&moved).await.unwrap();
        assert!(told.changed && told.started, "{told:?}");
        machine.until_run("systemctl show -P MainPID k3s | grep -vx 0", "");
        host.until(Rung::Api, |rung| rung.state == RungState::Ready)
            .await;
        assert_ne!(main_pid(&machine), pid);
        // Somebody else stops it and starts it again, without a word to the agent.
        machine.run("systemctl stop k3s");
        let stopped = host
            .until(Rung::K3s, |rung| rung.detail.contains("not started"))
            .await;
        assert_eq!(stopped.state, RungState::Progressing, "{stopped:?}");
        machine.run("systemctl start --no-block k3s");
        host.until(Rung::Api, |rung| rung.state == RungState::Ready)
            .await;
        host.close().await;
    });
}

#[test]
fn a_crash_loop_is_told_with_the_words_of_its_journal() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    add(
        &machine,
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=200ms\n",
    );
    block_on(async {
        trial::keep(&machine, trial::wanted(1, single())).await;
        let host = Host::local(&machine).await;
        let broken = configuration("10.77.0.10", &["simulate-fail=the disk is full"]);
        host.ask(&broken).await.unwrap();
        let failed = host
            .until(Rung::K3s, |rung| rung.state == RungState::Failed)
            .await;
        assert!(failed.detail.contains("exit status: 1"), "{failed:?}");
        let told = failed
            .tail
            .iter()
            .any(|line| line.contains("the disk is full"));
        assert!(told, "{failed:?}");
        // A good configuration ends it at once.
        host.ask(&configuration("10.77.0.10", &[])).await.unwrap();
        host.until(Rung::Api, |rung| rung.state == RungState::Ready)
            .await;
        host.close().await;
    });
}

#[test]
fn a_start_that_systemd_refuses_is_told_with_its_reason() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    machine.give(
        "/run/systemd/system/disk.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    );
    add(
        &machine,
        "[Unit]\nRequires=disk.service\nAfter=disk.service\n",
    );
    block_on(async {
        trial::keep(&machine, trial::wanted(1, single())).await;
        let host = Host::local(&machine).await;
        host.ask(&configuration("10.77.0.10", &[])).await.unwrap();
        let failed = host
            .until(Rung::K3s, |rung| rung.state == RungState::Failed)
            .await;
        assert!(
            failed.detail.contains("a unit that it needs failed"),
            "{failed:?}"
        );
        machine.run("systemctl stop k3s; rm -f /run/systemd/system/k3s.service.d/added.conf; systemctl daemon-reload; systemctl start --no-block k3s");
        host.until(Rung::Api, |rung| rung.state == RungState::Ready)
            .await;
        host.close().await;
    });
}
