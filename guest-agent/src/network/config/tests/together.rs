//! Routes against addresses, and interfaces against each other.

use super::*;

#[test]
fn bad_routes() {
    let table = [
        ("default", "", "the default route needs a gateway (`via`)"),
        ("0.0.0.0/0", "", "the default route needs a gateway (`via`)"),
        ("default", "gw", "gateway: not an IP address"),
        (
            "default",
            "10.0.0.1",
            "gateway: it is in no network of this interface",
        ),
        (
            "default",
            "192.100.0.10",
            "gateway: it is this interface's own address",
        ),
        (
            "default",
            "192.100.0.255",
            "gateway: it is the broadcast address of its network",
        ),
        (
            "default",
            "192.100.0.0",
            "gateway: it is the address of the network, not of a host in it",
        ),
        (
            "default",
            "0.0.0.0",
            "gateway: it stands for no address at all",
        ),
        (
            "default",
            "127.0.0.1",
            "gateway: loopback addresses belong to lo",
        ),
        (
            "default",
            "fd00::1",
            "gateway: it is in no network of this interface",
        ),
        (
            "fd00:1::/64",
            "192.100.0.1",
            "gateway: of another address family than the destination",
        ),
        (
            "10.1.0.0/33",
            "192.100.0.1",
            "the prefix length is not a number between 0 and 32",
        ),
        ("somewhere", "192.100.0.1", "not an IP address"),
        (
            "10.1.0.1/16",
            "192.100.0.1",
            "has bits behind the prefix; write 10.1.0.0/16",
        ),
        ("224.0.0.0/4", "192.100.0.1", "nothing can be routed there"),
        ("127.0.0.0/8", "192.100.0.1", "nothing can be routed there"),
        (
            "10.42.1.0/24",
            "192.100.0.1",
            "it is in 10.42.0.0/16, which k3s uses for pods",
        ),
        (
            "10.43.0.0/16",
            "192.100.0.1",
            "it is in 10.43.0.0/16, which k3s uses for services",
        ),
    ];
    for (destination, via, message) in table {
        let wire = InterfaceConfig {
            routes: vec![to(destination, via)],
            ..eth0()
        };
        refused(
            vec![wire],
            &format!("interface eth0: route to {destination}: {message}"),
        );
    }
    let wire = InterfaceConfig {
        routes: vec![to("default", "192.100.0.1"), to("0.0.0.0/0", "192.100.0.2")],
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: route to 0.0.0.0/0: it is there twice with metric 0",
    );
}

#[test]
fn a_route_may_be_wider_than_the_cluster_ranges() {
    let wire = InterfaceConfig {
        routes: vec![to("10.0.0.0/8", "192.100.0.1")],
        ..eth0()
    };
    assert!(parse(vec![wire]).is_ok());
}

#[test]
fn interfaces_must_not_collide() {
    let other = || InterfaceConfig {
        id: "eth1".into(),
        match_mac: Some("52:54:00:c8:32:0b".into()),
        addresses: vec!["192.101.0.10/24".into()],
        ..InterfaceConfig::default()
    };
    assert!(parse(vec![eth0(), other()]).is_ok());
    let wire = InterfaceConfig {
        id: "eth0".into(),
        ..other()
    };
    refused(vec![eth0(), wire], "interface eth0: configured twice");
    let wire = InterfaceConfig {
        match_mac: eth0().match_mac,
        ..other()
    };
    refused(
        vec![eth0(), wire],
        "interface eth1: matches the same link as interface eth0",
    );
    let wire = InterfaceConfig {
        addresses: vec!["192.100.0.10/16".into()],
        ..other()
    };
    refused(
        vec![eth0(), wire],
        "interface eth1: address 192.100.0.10/16 is also given to interface eth0",
    );
    let named = |wire| InterfaceConfig {
        set_name: Some("lan0".into()),
        ..wire
    };
    refused(
        vec![named(eth0()), named(other())],
        "interface eth1: set-name lan0 is also given to interface eth0",
    );
    let routed = |wire, via: &str| InterfaceConfig {
        routes: vec![to("default", via)],
        ..wire
    };
    refused(
        vec![
            routed(eth0(), "192.100.0.1"),
            routed(other(), "192.101.0.1"),
        ],
        "interface eth1: route 0.0.0.0/0 via 192.101.0.1 metric 0 is also on interface eth0; \
         give one of them another metric",
    );
}
