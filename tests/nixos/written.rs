//! What `programs.lkc` writes is what lkc-host accepts.

use std::path::Path;

use lkc_host::config::{Config, Driver, parse};
use serde_json::Value;

use crate::evaluated;

#[test]
fn lkc_host_reads_every_file_that_the_modules_write() {
    let Some(made) = evaluated("host.nix") else {
        return;
    };
    let written = made["written"].as_object().unwrap();
    for (name, settings) in written {
        let config = read(name, settings);
        assert_eq!(config.warnings, [], "{name}");
    }

    let config = read("two-clusters", &written["two-clusters"]);
    assert_eq!(ports(&config, "k3s-dev"), [6443, 8080, 8443, 2210]);
    assert_eq!(ports(&config, "k3s-capi"), [6444, 8081, 8444, 2211]);

    // The ports and addresses that people chose by hand are those that follow from the index.
    let by_hand = read("as-people-had-it", &written["as-people-had-it"]);
    for cluster in ["k3s-dev", "k3s-capi"] {
        assert_eq!(ports(&by_hand, cluster), ports(&config, cluster));
    }
    let reach = by_hand
        .clusters
        .iter()
        .find_map(|(spec, _)| spec.reach.as_ref());
    assert_eq!(reach.unwrap().carriers.len(), 1);

    let config = read("everything", &written["everything"]);
    let (vm, _) = config.cluster(None).unwrap();
    assert_eq!(vm.name.as_str(), "k3s-vm");
    assert_eq!(vm.driver, Driver::Qemu);
    let machine = vm.vm.as_ref().unwrap();
    assert_eq!((machine.cpus, machine.memory_mib), (4, 8192));
    assert_eq!(machine.disk_mib, Some(40 * 1024));
    assert_eq!(ports(&config, "k3s-vm")[..4], [7443, 7080, 7444, 7022]);
    assert_eq!(vm.reverse.len(), 1);
}

fn read(name: &str, settings: &Value) -> Config {
    let text = toml::to_string(settings).unwrap();
    parse(
        &text,
        Path::new("/home/u/.config/lkc/lkc.toml"),
        Path::new("/home/u"),
    )
    .unwrap_or_else(|error| panic!("{name}: {error:?}\n{text}"))
}

fn ports(config: &Config, cluster: &str) -> Vec<u16> {
    let (spec, _) = config.cluster(Some(&cluster.parse().unwrap())).unwrap();
    let listeners = spec
        .forwards
        .iter()
        .filter(|forward| forward.socket.is_none());
    listeners.map(|forward| forward.host_port).collect()
}
