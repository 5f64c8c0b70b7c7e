//! How long a boot takes until the network is there: with systemd-networkd and an administrator's
//! files alone, and with the same files from what a host has confirmed.

use std::{env, fs, time::Duration};

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, TryNetwork};

use crate::{
    machine::{MACS, Machine},
    network::block_on,
    trial::{keep, tell, wanted},
    wire::{default_by, of_card},
};

/// Becomes active when systemd-networkd says that both links are configured and have their addresses.
const CONFIGURED: &str = "[Unit]\nDefaultDependencies=no\nAfter=systemd-networkd.service\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\n\
    ExecStart=/usr/lib/systemd/systemd-networkd-wait-online \
    --interface=eth0:routable --interface=eth1:routable --ipv4 --timeout=60\n";

/// Starts it with systemd-networkd.
const PULLED_IN: &str = "/etc/systemd/system/systemd-networkd.service.d/measured.conf";

/// The units of the guest.
const OURS: [&str; 6] = [
    "lkc-guest.service",
    "lkc-guest-network.service",
    "lkc-steward.service",
    "lkc-steward.socket",
    "lkc-exec.socket",
    "lkc-k3s.path",
];

/// Addresses that are there at once: no lease, and no duplicates that are looked for.
fn network() -> ApplyNetwork {
    let of = |card: usize, address: &str| InterfaceConfig {
        addresses: vec![address.to_owned()],
        ..of_card(card)
    };
    let mut interfaces = vec![of(0, "10.77.0.10/24"), of(1, "192.100.0.10/24")];
    interfaces[1].routes.push(default_by("192.100.0.1"));
    ApplyNetwork {
        hostname: None,
        interfaces,
    }
}

/// No bound: a busy machine has its own pace. `LKC_GUEST_OS_BOOTS=10 tests/guest-os/run boots` has the
/// medians of ten boots of each kind.
#[test]
fn boots_with_and_without_the_guest() {
    let Some(mut ours) = Machine::make(MACS.len()) else {
        return;
    };
    let mut theirs = Machine::make(MACS.len()).unwrap();
    for machine in [&ours, &theirs] {
        machine.prepare("/etc/systemd/system/measured.service", CONFIGURED);
        machine.prepare(PULLED_IN, "[Unit]\nWants=measured.service\n");
    }
    ours.start();
    let change = TryNetwork {
        deadline_ms: 60_000,
        ..wanted(1, network())
    };
    block_on(keep(&ours, change));
    let files = "/run/systemd/network";
    for file in ours.run(&format!("ls {files}")).split_whitespace() {
        let text = ours.run(&format!("cat {files}/{file}"));
        assert!(text.contains("[Match]"), "{text}");
        theirs.prepare(&format!("/etc/systemd/network/{file}"), &text);
    }
    theirs.mask(&OURS);
    let count = env::var("LKC_GUEST_OS_BOOTS").ok();
    let count: usize = count.map_or(1, |text| text.parse().unwrap());
    let (mut with, mut without, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        theirs.boot_anew();
        without.push(since_power_on(&theirs, "measured.service"));
        ours.boot_anew();
        with.push(since_power_on(&ours, "measured.service"));
        applied.push(since_power_on(&ours, "lkc-steward.service"));
    }
    tell(&format!(
        "from the first process to configured links, {count} boots, medians: networkd alone {} ms, with \
         the guest {} ms; to the steward's word that all is as confirmed {} ms",
        median(&mut without),
        median(&mut with),
        median(&mut applied),
    ));
}

/// Milliseconds from the start of the first process until a unit was active.
fn since_power_on(machine: &Machine, unit: &str) -> u128 {
    machine.until_run(
        &format!("systemctl is-active {unit} | grep -x active"),
        "active",
    );
    let times = machine.run(&format!(
        "systemctl show -P UserspaceTimestampMonotonic; \
         systemctl show -P ActiveEnterTimestampMonotonic {unit}"
    ));
    let times: Vec<u64> = times.lines().map(|line| line.parse().unwrap()).collect();
    Duration::from_micros(times[1] - times[0]).as_millis()
}

fn median(of: &mut [u128]) -> u128 {
    of.sort_unstable();
    of[of.len() / 2]
}

impl Machine {
    /// Keeps units from ever starting.
    fn mask(&self, units: &[&str]) {
        for unit in units {
            self.prepare(&format!("/etc/systemd/system/{unit}"), "");
            let path = self.path(&format!("upper/etc/systemd/system/{unit}"));
            fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/dev/null", path).unwrap();
        }
    }
}
