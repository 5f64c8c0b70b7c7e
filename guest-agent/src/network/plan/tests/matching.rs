//! Which link an interface is.

use super::*;

#[test]
fn ways_to_match() {
    let mut bonded = link(2, "eth0");
    bonded.permanent_mac = "52:54:00:c8:32:77".parse().ok();
    let mut virtio = link(3, "eth1");
    virtio.driver = Some("virtio_net".into());
    // A VLAN wears the address of the device below it.
    let mut vlan = link(4, "eth0.5");
    vlan.mac = "52:54:00:c8:32:77".parse().ok();
    let links = || vec![lo(), bonded.clone(), virtio.clone(), vlan.clone()];
    let found = |wire| outcome(vec![wire], links()).unwrap().links;

    assert_eq!(found(by_mac(0x77, "a")), [2]);
    assert_eq!(found(by_mac(3, "a")), [3]);
    let named = |glob: &str| InterfaceConfig {
        id: "a".into(),
        match_name: Some(glob.into()),
        ..InterfaceConfig::default()
    };
    assert_eq!(found(named("*1")), [3]);
    let driven = InterfaceConfig {
        id: "a".into(),
        match_driver: Some("virtio*".into()),
        ..InterfaceConfig::default()
    };
    assert_eq!(found(driven), [3]);
    let keyed = |id: &str| InterfaceConfig {
        id: id.into(),
        ..InterfaceConfig::default()
    };
    assert_eq!(found(keyed("eth0.5")), [4]);
    let renamed_before = InterfaceConfig {
        set_name: Some("eth1".into()),
        ..named("ens*")
    };
    assert_eq!(found(renamed_before), [3]);
    let both = InterfaceConfig {
        match_name: Some("eth1".into()),
        ..by_mac(0x77, "a")
    };
    assert_eq!(found(both), [2]);
}

#[test]
fn links_that_do_not_fit() {
    let links = || vec![lo(), link(2, "eth0"), link(3, "eth1")];
    refused(
        vec![by_mac(0x99, "a")],
        links(),
        "interface a: no link has hardware address 52:54:00:c8:32:99; \
         there is eth0 (52:54:00:c8:32:02), eth1 (52:54:00:c8:32:03)",
    );
    let wire = InterfaceConfig {
        id: "eth7".into(),
        ..InterfaceConfig::default()
    };
    refused(
        vec![wire],
        vec![lo()],
        "interface eth7: no link has name eth7; there is no link but the loopback",
    );
    let wire = InterfaceConfig {
        id: "a".into(),
        match_name: Some("eth*".into()),
        ..InterfaceConfig::default()
    };
    refused(
        vec![wire],
        links(),
        "interface a: name eth* is not one link but eth0 (52:54:00:c8:32:02), eth1 (52:54:00:c8:32:03)",
    );
    let wire = InterfaceConfig {
        id: "eth0".into(),
        ..InterfaceConfig::default()
    };
    refused(
        vec![by_mac(2, "a"), wire],
        links(),
        "interfaces a and eth0 both match eth0",
    );
    let wire = InterfaceConfig {
        set_name: Some("eth1".into()),
        ..by_mac(2, "a")
    };
    refused(
        vec![wire],
        links(),
        "eth0 cannot be renamed to eth1: another link has that name and keeps it",
    );
}

#[test]
fn names_that_change_what_they_match() {
    let swap = |from: &str, to: &str| InterfaceConfig {
        id: from.into(),
        set_name: Some(to.into()),
        ..InterfaceConfig::default()
    };
    refused(
        vec![swap("eth0", "eth1"), swap("eth1", "eth0")],
        vec![link(2, "eth0"), link(3, "eth1")],
        "interface eth0: name eth0 means another link once the names are set; \
         match it by hardware address (match.macaddress)",
    );
}
