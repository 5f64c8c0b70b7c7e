//! A machine that no host has configured yet, and k3s after the network of one that has.

use crate::{
    host::Host, k3s::configuration, machine::Machine, network::block_on, trial, wire::single,
};

#[test]
fn without_a_host_it_falls_back_to_dhcp_and_says_so() {
    let Some(mut machine) = Machine::make(1) else {
        return;
    };
    machine.prepare(
        "/etc/systemd/system/lkc-steward.service.d/soon.conf",
        "[Service]\nExecStart=\nExecStart=/usr/bin/lkc-guest steward --wait-for-host=1\n",
    );
    machine.start();
    machine.until_run("ip -4 -brief addr show eth0", "10.77.0.1");
    let log = machine.run("journalctl -b --no-pager -u lkc-steward");
    assert!(
        log.contains("no host has configured the network within 1 s: asking for leases by DHCP"),
        "{log}"
    );
    block_on(async {
        let host = Host::local(&machine).await;
        assert!(host.ask(&single()).await.unwrap().changed);
        let files = machine.run("ls /run/systemd/network");
        assert_eq!(files.trim(), "00-lkc-nic0.network");
        host.close().await;
    });
}

#[test]
fn k3s_starts_after_the_confirmed_network_without_a_host() {
    let Some(mut machine) = Machine::boot(2) else {
        return;
    };
    block_on(async {
        trial::keep(&machine, trial::dual_wanted(1)).await;
        let host = Host::local(&machine).await;
        let wanted = configuration("192.100.0.10", &[]);
        assert!(host.ask(&wanted).await.unwrap().changed);
        host.close().await;
    });
    machine.reboot();
    machine.until_run("systemctl is-active k3s | grep -x active", "active");
    let times = machine.run(
        "systemctl show -P ActiveEnterTimestampMonotonic lkc-steward; \
         systemctl show -P ExecMainStartTimestampMonotonic k3s",
    );
    let times: Vec<u64> = times.lines().map(|line| line.parse().unwrap()).collect();
    assert!(times[0] <= times[1], "{times:?}");
    assert!(
        machine
            .run("ip -brief addr show k8snet")
            .contains("192.100.0.10/24")
    );
    let log = machine.run("journalctl -b --no-pager -u lkc-steward -u lkc-guest-network");
    assert!(
        log.contains("the confirmed network configuration is restored"),
        "{log}"
    );
    assert!(log.contains("network applied summary"), "{log}");
    assert!(log.contains("k3s' configuration is restored"), "{log}");
    let started = machine.run(
        "systemctl show -P ExecMainStartTimestampMonotonic systemd-networkd; \
         systemctl show -P ExecMainStartTimestampMonotonic lkc-steward",
    );
    let started: Vec<u64> = started.lines().map(|line| line.parse().unwrap()).collect();
    trial::tell(&format!(
        "from the start of systemd-networkd to the steward's word that all is as confirmed: {} ms, \
         {} ms of it since the steward's own start",
        (times[0] - started[0]) / 1000,
        (times[0] - started[1]) / 1000,
    ));
}
