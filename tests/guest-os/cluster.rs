//! k3s, configured and watched for a host: what needs root of that is the steward's, what comes of it
//! reaches the host by the agent.

use lkc_protocol::message::{
    Change, Cni, ConfigureK3s, K3sRole, Kubeconfig, KubeconfigValues, LogLine, LogSource, Logs,
    Rung, RungState, RungStatus, Snapshot, Watch,
};
use tokio::time::timeout;

use crate::{
    host::Host,
    machine::{Machine, PATIENCE},
    network::block_on,
    wire::single,
};

#[test]
fn a_host_configures_k3s_and_sees_it_ready() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        host.ask(&single()).await.unwrap();
        let configured = host.ask(&wanted("k3s-dev")).await.unwrap();
        assert!(configured.changed && configured.started, "{configured:?}");
        until_ready(&host, Rung::Node, &machine).await;

        let mut stream = host.begin(&Kubeconfig {}).await;
        let values = timeout(PATIENCE, stream.receive::<KubeconfigValues>()).await;
        let values = values.unwrap().unwrap().unwrap();
        assert!(values.certificate_authority.contains("BEGIN CERTIFICATE"));
        let file = "/etc/rancher/k3s/config.yaml.d/50-lkc.yaml";
        let written = machine.run(&format!("stat -c '%U %a' {file}; cat {file}"));
        assert!(written.starts_with("root 600\n"), "{written}");
        assert!(written.contains("node-name: \"k3s-dev\""), "{written}");

        let mut log = host
            .begin(&Logs {
                source: LogSource::K3s,
                tail: 5,
                follow: false,
            })
            .await;
        let line = timeout(PATIENCE, log.receive::<LogLine>()).await.unwrap();
        assert!(line.unwrap().is_some());

        let refused = host.ask(&wanted("No Name")).await.unwrap_err();
        assert!(refused.contains("is no node name"), "{refused}");
        assert!(!host.ask(&wanted("k3s-dev")).await.unwrap().changed);
        host.close().await;
    });
}

#[test]
fn the_link_outlives_a_steward_and_hears_from_the_next_one() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        host.ask(&single()).await.unwrap();
        host.ask(&wanted("k3s-dev")).await.unwrap();
        until_ready(&host, Rung::Node, &machine).await;
        machine.run("systemctl kill --signal=KILL lkc-steward");
        machine.until_run("systemctl show -P NRestarts lkc-steward", "1");
        assert!(!host.ask(&single()).await.unwrap().changed);
        assert!(!host.ask(&wanted("k3s-dev")).await.unwrap().started);
        // It ends by itself, and only the new steward can have seen that.
        machine.run("systemctl kill --signal=KILL k3s");
        let down = |status: &RungStatus| status.state != RungState::Ready;
        until(&host, Rung::K3s, down, &machine).await;
        until_ready(&host, Rung::Node, &machine).await;
        host.close().await;
    });
}

#[test]
fn without_a_steward_a_host_is_told_so() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    machine.run("systemctl stop lkc-steward.socket lkc-steward.service");
    block_on(async {
        let host = Host::local(&machine).await;
        let refused = host.ask(&single()).await.unwrap_err();
        assert!(
            refused.contains("lkc-steward") && refused.contains("does not answer"),
            "{refused}"
        );
        machine.run("systemctl start lkc-steward.socket lkc-steward.service");
        host.ask(&single()).await.unwrap();
        until_ready(&host, Rung::Network, &machine).await;
        host.close().await;
    });
}

fn wanted(name: &str) -> ConfigureK3s {
    ConfigureK3s {
        role: K3sRole::Server,
        node_name: name.to_owned(),
        node_ip: "10.77.0.10".to_owned(),
        flannel_interface: None,
        cni: Cni::Default,
        tls_san: Vec::new(),
        disable: Vec::new(),
        settings: Vec::new(),
        server_url: None,
        token: None,
    }
}

async fn until_ready(host: &Host, rung: Rung, machine: &Machine) {
    let ready = |status: &RungStatus| status.state == RungState::Ready;
    until(host, rung, ready, machine).await;
}

async fn until(host: &Host, rung: Rung, holds: impl Fn(&RungStatus) -> bool, machine: &Machine) {
    let mut last = Vec::new();
    let watching = async {
        let mut stream = host.begin(&Watch {}).await;
        let snapshot = stream.receive::<Snapshot>().await.unwrap().unwrap();
        last = snapshot.rungs;
        loop {
            if last.iter().any(|one| one.rung == rung && holds(one)) {
                return;
            }
            let change = stream.receive::<Change>().await.unwrap().unwrap();
            for status in change.rungs {
                last.retain(|one| one.rung != status.rung);
                last.push(status);
            }
        }
    };
    let watched = timeout(PATIENCE, watching).await;
    assert!(watched.is_ok(), "{rung}: {last:?}\n{}", machine.story());
}
