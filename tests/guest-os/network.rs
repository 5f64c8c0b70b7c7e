//! What a host asks of the network, done by systemd-networkd.

use crate::{
    host::Host,
    machine::Machine,
    wire::{dual, single},
};

pub(crate) fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn a_static_address_replaces_the_dhcp_fallback() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    machine.give(
        "/etc/systemd/network/10-dhcp-fallback.network",
        "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
    );
    machine.run("networkctl reload");
    machine.until_run("ip -4 -brief addr show eth0", "10.77.0.1");
    block_on(async {
        let host = Host::local(&machine).await;
        let applied = host.ask(&single()).await.unwrap();
        assert!(applied.changed);
        assert!(
            applied.summary.contains("10.77.0.10/24 on eth0"),
            "{}",
            applied.summary
        );
        let addresses = machine.run("ip -4 -oneline addr show eth0");
        assert_eq!(addresses.lines().count(), 1, "{addresses}");
        assert!(machine.answers("10.77.0.10"));
        assert!(machine.answers("fd00:77:0::10"));
        assert_eq!(machine.run("hostname").trim(), "k3s-dev");
        let found = machine.run("resolvectl query lab.lkc.test");
        assert!(found.contains("192.0.2.7"), "{found}");

        let again = host.ask(&single()).await.unwrap();
        assert!(!again.changed, "{}", again.summary);
        host.close().await;
    });
}

#[test]
fn two_cards_one_by_dhcp_one_static_and_renamed() {
    let Some(machine) = Machine::boot(2) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let applied = host.ask(&dual()).await.unwrap();
        assert!(applied.changed);
        assert!(
            applied.summary.contains("192.100.0.10/24 on k8snet"),
            "{}",
            applied.summary
        );
        assert!(applied.summary.contains("10.77.0.1"), "{}", applied.summary);
        let routes = machine.run("ip route");
        let defaults: Vec<&str> = routes
            .lines()
            .filter(|line| line.starts_with("default"))
            .collect();
        assert_eq!(defaults.len(), 1, "{routes}");
        assert!(
            defaults[0].contains("via 192.100.0.1 dev k8snet"),
            "{routes}"
        );
        assert!(machine.run("ip link show k8snet").contains("mtu 1400"));
        let servers = machine.run("resolvectl dns");
        assert!(servers.contains("(k8snet): 192.100.0.1"), "{servers}");
        assert!(!servers.contains("10.77.0.1"), "{servers}");
        // Without its domain, by the search list.
        let found = machine.run("resolvectl query lab");
        assert!(found.contains("192.0.2.7"), "{found}");
        assert!(machine.answers("192.100.0.10"));
        assert!(!host.ask(&dual()).await.unwrap().changed);
        host.close().await;
    });
}
