//! A reboot that the guest decides on, and what a machine has from its host at every start.

use crate::lab::{BOOT, CLUSTER, Lab, report};

/// `systemctl reboot` in the guest: the link comes back by itself, the network is as before, and so
/// are the keys, which are the host's to give. Whoever follows a log is told, and follows this boot's.
pub(crate) fn keeps_what_it_was_given(lab: &Lab) {
    let machine = lab.env.machine(CLUSTER);
    lab.env
        .lkc(["network", "apply"])
        .within(BOOT)
        .run()
        .succeeds()
        .prints("kept");
    let (links, before) = (lab.connects(), Given::of(lab));
    assert!(before.addresses.contains("192.100.0.10/24"), "{before:?}");
    assert!(before.keys.contains("/lkc.identity"), "{before:?}");
    let by_smbios = lab.said("grep -ao 'lkc[.][a-z_]*' /sys/firmware/dmi/entries/11-*/raw");
    assert!(by_smbios.contains("lkc.identity"), "{by_smbios}");
    let boot = lab.said(BOOT_ID);
    let log = lab
        .env
        .lkc(["logs", "--follow", "--source", "agent"])
        .within(BOOT)
        .spawn();
    let starts = |text: &str| text.matches("lkc-guest runs").count();
    let known = starts(&log.stdout_until("it shows the agent's log", |text| text.ends_with('\n')));

    let since = std::time::Instant::now();
    // Whether it hears its own end is nobody's concern.
    let _ = lab
        .env
        .lkc(["exec", "--no-tty", "--", "systemctl", "reboot"])
        .within(BOOT)
        .run();
    let back = lab.linked_again(links);
    report(&format!(
        "link back after a reboot: {:.1} s",
        back.duration_since(since).as_secs_f64()
    ));
    lab.env
        .lkc(["wait", "--for", "node", "--timeout", "4m"])
        .within(BOOT)
        .run()
        .succeeds();
    assert_ne!(lab.said(BOOT_ID), boot, "it was not started anew");
    assert_eq!(Given::of(lab), before);
    assert_eq!(lab.env.machine(CLUSTER), machine, "the same machine");
    log.stderr_until("it says that the guest has rebooted", |text| {
        text.contains("has rebooted")
    });
    log.stdout_until("it goes on with this boot", |text| starts(text) > known);
    drop(log);
    let restored = "the confirmed network configuration is restored";
    let log = lab.said("journalctl -b --no-pager -u lkc-guest-network.service");
    assert!(log.contains(restored), "{log}");
}

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// What the guest has from its host.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    addresses: String,
    routes: String,
    /// The files of networkd.
    files: String,
    /// Sums and paths of the agent's credentials.
    keys: String,
}

impl Given {
    fn of(lab: &Lab) -> Self {
        Self {
            addresses: lab
                .said("ip -oneline -4 address show scope global | sed 's/ valid_lft.*//'"),
            routes: lab.said("ip -4 route show"),
            files: lab.said("cat /run/systemd/network/00-lkc-*"),
            keys: lab.said("sha256sum /run/credentials/lkc-guest.service/lkc.*"),
        }
    }
}
