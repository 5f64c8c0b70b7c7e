use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, RouteConfig};

use super::super::observed::{KernelRoute, ObservedAddress, ObservedLink, Origin, Readiness};
use super::*;

mod matching;

fn link(index: u32, name: &str) -> ObservedLink {
    ObservedLink {
        index,
        name: name.into(),
        mac: Some(format!("52:54:00:c8:32:{index:02x}").parse().unwrap()),
        mtu: 1500,
        up: true,
        carrier: true,
        ..ObservedLink::default()
    }
}

fn having(mut link: ObservedLink, address: &str) -> ObservedLink {
    link.addresses.push(ObservedAddress {
        address: address.parse().unwrap(),
        global: true,
        lasting: true,
        peer: false,
        readiness: Readiness::Ready,
    });
    link
}

fn routing(mut link: ObservedLink, to: &str, via: &str, origin: Origin) -> ObservedLink {
    let route = Route {
        to: to.parse().unwrap(),
        via: Some(via.parse().unwrap()),
        metric: 0,
    };
    link.routes.push(KernelRoute {
        origin,
        ..KernelRoute::asked(route)
    });
    link
}

fn network(links: Vec<ObservedLink>) -> ObservedNetwork {
    ObservedNetwork {
        hostname: "nixos".into(),
        links,
    }
}

fn lo() -> ObservedLink {
    let lo = ObservedLink {
        loopback: true,
        mac: None,
        ..link(1, "lo")
    };
    ObservedLink {
        mac: "52:54:00:c8:32:99".parse().ok(),
        ..lo
    }
}

fn by_mac(index: u32, id: &str) -> InterfaceConfig {
    InterfaceConfig {
        id: id.into(),
        match_mac: Some(format!("52:54:00:C8:32:{index:02X}")),
        ..InterfaceConfig::default()
    }
}

fn outcome(interfaces: Vec<InterfaceConfig>, links: Vec<ObservedLink>) -> Result<Plan, PlanError> {
    let wire = ApplyNetwork {
        hostname: None,
        interfaces,
    };
    plan(
        &NetworkConfig::parse(&wire).unwrap(),
        &network(links),
        Means::Netlink,
    )
}

#[track_caller]
fn steps(interfaces: Vec<InterfaceConfig>, links: Vec<ObservedLink>, expected: &[&str]) {
    let plan = outcome(interfaces, links).unwrap();
    let steps: Vec<String> = plan.actions.iter().map(ToString::to_string).collect();
    assert_eq!(steps, expected);
}

#[track_caller]
fn refused(interfaces: Vec<InterfaceConfig>, links: Vec<ObservedLink>, message: &str) {
    assert_eq!(outcome(interfaces, links).unwrap_err().to_string(), message);
}

#[test]
fn a_fresh_link_gets_everything_in_order() {
    let fresh = ObservedLink {
        up: false,
        ..link(2, "ens3")
    };
    let wire = InterfaceConfig {
        set_name: Some("eth0".into()),
        addresses: vec!["192.100.0.10/24".into(), "fd00::a/64".into()],
        routes: vec![
            RouteConfig {
                to: "default".into(),
                via: Some("192.100.0.1".into()),
                metric: Some(5),
            },
            RouteConfig {
                to: "10.9.0.0/16".into(),
                via: None,
                metric: None,
            },
        ],
        mtu: Some(1400),
        ..by_mac(2, "lan")
    };
    steps(
        vec![wire],
        vec![lo(), fresh],
        &[
            "rename ens3 to eth0",
            "set MTU 1400 on eth0",
            "bring eth0 up",
            "add 192.100.0.10/24 to eth0",
            "add fd00::a/64 to eth0",
            "set route 10.9.0.0/16 metric 0 on eth0",
            "add route 0.0.0.0/0 via 192.100.0.1 metric 5 to eth0",
        ],
    );
}

#[test]
fn nothing_is_done_when_all_is_so() {
    let done = having(link(2, "eth0"), "192.100.0.10/24");
    let done = routing(done, "0.0.0.0/0", "192.100.0.1", Origin::Dhcp);
    let wire = InterfaceConfig {
        addresses: vec!["192.100.0.10/24".into()],
        routes: vec![RouteConfig {
            to: "default".into(),
            via: Some("192.100.0.1".into()),
            metric: None,
        }],
        ..by_mac(2, "eth0")
    };
    steps(vec![wire], vec![done], &[]);
}

#[test]
fn host_name() {
    let wire = |name: &str| {
        let wire = ApplyNetwork {
            hostname: Some(name.into()),
            interfaces: vec![],
        };
        NetworkConfig::parse(&wire).unwrap()
    };
    let planned = plan(&wire("k3s-dev"), &network(vec![]), Means::Netlink).unwrap();
    assert_eq!(
        planned.actions,
        [Action::SetHostname {
            name: "k3s-dev".into()
        }]
    );
    assert_eq!(
        plan(&wire("nixos"), &network(vec![]), Means::Netlink)
            .unwrap()
            .actions,
        []
    );
}

#[test]
fn a_link_that_is_up_goes_down_for_its_rename_and_gets_back_what_that_costs() {
    let busy = having(having(link(2, "ens3"), "192.100.0.10/24"), "fd00::a/64");
    let busy = routing(busy, "10.9.0.0/16", "192.100.0.7", Origin::Other(12));
    let wire = InterfaceConfig {
        set_name: Some("eth0".into()),
        addresses: vec!["192.100.0.10/24".into(), "fd00::a/64".into()],
        ..by_mac(2, "lan")
    };
    steps(
        vec![wire],
        vec![busy],
        &[
            "take ens3 down",
            "rename ens3 to eth0",
            "bring eth0 up",
            "add fd00::a/64 to eth0",
            "add route 10.9.0.0/16 via 192.100.0.7 metric 0 to eth0",
        ],
    );
}

#[test]
fn two_links_trade_names() {
    let named = |index, id: &str, name: &str| InterfaceConfig {
        set_name: Some(name.into()),
        ..by_mac(index, id)
    };
    steps(
        vec![named(2, "a", "eth1"), named(3, "b", "eth0")],
        vec![link(2, "eth0"), link(3, "eth1")],
        &[
            "take eth0 down",
            "take eth1 down",
            "rename eth0 to lkc-swap0",
            "rename eth1 to eth0",
            "rename lkc-swap0 to eth1",
            "bring eth1 up",
            "bring eth0 up",
        ],
    );
    steps(
        vec![named(2, "a", "eth1"), named(3, "b", "eth2")],
        vec![link(2, "eth0"), link(3, "eth1")],
        &[
            "take eth0 down",
            "take eth1 down",
            "rename eth1 to eth2",
            "rename eth0 to eth1",
            "bring eth1 up",
            "bring eth2 up",
        ],
    );
}

#[test]
fn what_an_earlier_configuration_left_goes_on_a_static_interface_only() {
    let old = || {
        let mut old = having(having(link(2, "eth0"), "10.0.0.5/24"), "192.100.0.10/24");
        old.addresses.push(ObservedAddress {
            address: "fe80::1/64".parse().unwrap(),
            global: false,
            lasting: true,
            peer: false,
            readiness: Readiness::Ready,
        });
        old.addresses.push(ObservedAddress {
            address: "2001:db8::5/64".parse().unwrap(),
            global: true,
            lasting: false,
            peer: false,
            readiness: Readiness::Ready,
        });
        let old = routing(old, "0.0.0.0/0", "10.0.0.1", Origin::Dhcp);
        let old = routing(old, "10.7.0.0/16", "10.0.0.1", Origin::Boot);
        routing(old, "10.42.1.0/24", "192.100.0.11", Origin::Boot)
    };
    let wire = InterfaceConfig {
        addresses: vec!["192.100.0.10/24".into()],
        ..by_mac(2, "eth0")
    };
    steps(
        vec![wire.clone()],
        vec![old()],
        &[
            "remove route 0.0.0.0/0 via 10.0.0.1 metric 0 from eth0",
            "remove route 10.7.0.0/16 via 10.0.0.1 metric 0 from eth0",
            "remove 10.0.0.5/24 from eth0",
            "set route 10.42.1.0/24 via 192.100.0.11 metric 0 on eth0",
        ],
    );
    steps(
        vec![InterfaceConfig {
            dhcp4: true,
            ..wire
        }],
        vec![old()],
        &[],
    );
    steps(vec![by_mac(2, "eth0")], vec![old()], &[]);
}

#[test]
fn an_address_that_goes_may_take_its_neighbours_along() {
    let old = having(having(link(2, "eth0"), "10.0.0.5/24"), "10.0.0.6/24");
    let wire = InterfaceConfig {
        addresses: vec!["10.0.0.6/24".into(), "10.0.0.7/24".into()],
        ..by_mac(2, "eth0")
    };
    steps(
        vec![wire],
        vec![old],
        &[
            "remove 10.0.0.5/24 from eth0",
            "add 10.0.0.6/24 to eth0",
            "add 10.0.0.7/24 to eth0",
        ],
    );
}

#[test]
fn a_lease_that_is_asked_for_as_static_is_made_to_last() {
    let mut leased = having(link(2, "eth0"), "10.0.0.5/24");
    leased.addresses[0].lasting = false;
    let wire = InterfaceConfig {
        addresses: vec!["10.0.0.5/24".into()],
        ..by_mac(2, "eth0")
    };
    steps(vec![wire], vec![leased], &["add 10.0.0.5/24 to eth0"]);
}

#[test]
fn a_changed_gateway_is_replaced_and_a_changed_prefix_set_anew() {
    let old = having(link(2, "eth0"), "10.0.0.5/24");
    let old = routing(old, "0.0.0.0/0", "10.0.0.1", Origin::Static);
    let wire = InterfaceConfig {
        addresses: vec!["10.0.0.5/16".into()],
        routes: vec![RouteConfig {
            to: "default".into(),
            via: Some("10.0.0.2".into()),
            metric: None,
        }],
        ..by_mac(2, "eth0")
    };
    steps(
        vec![wire],
        vec![old],
        &[
            "remove 10.0.0.5/24 from eth0",
            "add 10.0.0.5/16 to eth0",
            "set route 0.0.0.0/0 via 10.0.0.2 metric 0 on eth0",
        ],
    );
}

#[test]
fn a_link_too_small_for_ipv6() {
    let small = ObservedLink {
        mtu: 1000,
        ..link(2, "eth0")
    };
    let wire = InterfaceConfig {
        addresses: vec!["fd00::a/64".into()],
        ..by_mac(2, "a")
    };
    refused(
        vec![wire.clone()],
        vec![small.clone()],
        "interface a: eth0 has MTU 1000 and IPv6 needs 1280; set `mtu`",
    );
    let wire = InterfaceConfig {
        mtu: Some(1280),
        ..wire
    };
    steps(
        vec![wire],
        vec![small],
        &["set MTU 1280 on eth0", "add fd00::a/64 to eth0"],
    );
}

#[test]
fn only_dhcp_needs_networkd() {
    for wire in [
        InterfaceConfig {
            dhcp4: true,
            ..by_mac(2, "a")
        },
        InterfaceConfig {
            dhcp6: true,
            ..by_mac(2, "a")
        },
    ] {
        refused(
            vec![wire],
            vec![link(2, "eth0")],
            "interface a: DHCP needs systemd-networkd, which does not run here; \
             give the interface an address",
        );
    }
}

#[test]
fn what_is_left_undone_is_told() {
    let wire = InterfaceConfig {
        dhcp4: true,
        addresses: vec!["10.0.0.5/24".into()],
        nameservers: vec!["1.1.1.1".into(), "fd00::53".into()],
        search: vec!["lab.example".into()],
        ..by_mac(2, "a")
    };
    let plan = outcome(vec![wire], vec![link(2, "eth0")]).unwrap();
    let notes: Vec<String> = plan.unsupported.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "nameservers 1.1.1.1 fd00::53 of a",
            "search domains of a",
            "DHCP on a"
        ]
    );
}

#[test]
fn a_route_of_a_link_that_stays_is_not_pushed_out() {
    let other = routing(
        having(link(3, "eth1"), "10.5.0.2/24"),
        "0.0.0.0/0",
        "10.5.0.1",
        Origin::Dhcp,
    );
    let wire = |metric| InterfaceConfig {
        addresses: vec!["10.0.0.5/24".into()],
        routes: vec![RouteConfig {
            to: "default".into(),
            via: Some("10.0.0.1".into()),
            metric,
        }],
        ..by_mac(2, "a")
    };
    refused(
        vec![wire(None)],
        vec![link(2, "eth0"), other.clone()],
        "interface a: route 0.0.0.0/0 via 10.0.0.1 metric 0 would replace that of eth1; \
         give it another metric",
    );
    assert!(outcome(vec![wire(Some(50))], vec![link(2, "eth0"), other.clone()]).is_ok());
    let moved = InterfaceConfig {
        addresses: vec!["10.5.0.2/24".into()],
        ..by_mac(3, "b")
    };
    steps(
        vec![wire(None), moved],
        vec![link(2, "eth0"), other],
        &[
            "remove route 0.0.0.0/0 via 10.5.0.1 metric 0 from eth1",
            "add 10.0.0.5/24 to eth0",
            "add route 0.0.0.0/0 via 10.0.0.1 metric 0 to eth0",
        ],
    );
}
