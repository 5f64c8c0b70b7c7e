//! Against a real kernel, each test in namespaces of its own.

use std::error::Error;

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, RouteConfig};

use super::super::observed::{ObservedLink, ObservedNetwork, Readiness};
use super::super::{NetworkError, apply, interfaces};
use super::Netlink;
use super::namespace::{give, observe, pair, run, up};

fn by_mac(last: u8, id: &str) -> InterfaceConfig {
    InterfaceConfig {
        id: id.into(),
        match_mac: Some(format!("52:54:00:c8:32:{last:02x}")),
        ..InterfaceConfig::default()
    }
}

fn asking(interfaces: Vec<InterfaceConfig>) -> ApplyNetwork {
    ApplyNetwork {
        hostname: None,
        interfaces,
    }
}

fn default_via(via: &str) -> RouteConfig {
    RouteConfig {
        to: "default".into(),
        via: Some(via.into()),
        metric: None,
    }
}

fn chain(error: &NetworkError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The state without what the kernel makes of itself and in its own time.
fn lasting(mut network: ObservedNetwork) -> ObservedNetwork {
    for link in &mut network.links {
        link.carrier = false;
        link.addresses.retain(|one| one.global);
        link.addresses
            .iter_mut()
            .for_each(|one| one.readiness = Readiness::Ready);
        link.routes
            .retain(|one| one.route.to != "fe80::/64".parse().unwrap());
    }
    network
}

fn link<'a>(network: &'a ObservedNetwork, name: &str) -> &'a ObservedLink {
    network.links.iter().find(|link| link.name == name).unwrap()
}

fn addresses(link: &ObservedLink) -> Vec<String> {
    let global = link.addresses.iter().filter(|one| one.global);
    global.map(|one| one.address.to_string()).collect()
}

fn routes(link: &ObservedLink) -> Vec<String> {
    let asked = link.routes.iter().filter(|one| !one.origin.is_automatic());
    asked.map(|one| one.route.to_string()).collect()
}

#[test]
fn a_link_gets_name_addresses_mtu_and_routes_once() {
    run(async || {
        pair("ens3", "far0", 0x0a).await;
        up("far0").await;
        let wire = ApplyNetwork {
            hostname: Some("k3s-dev".into()),
            interfaces: vec![InterfaceConfig {
                set_name: Some("eth0".into()),
                addresses: vec!["192.100.0.10/24".into(), "fd00:c8::a/64".into()],
                routes: vec![
                    default_via("192.100.0.1"),
                    default_via("fd00:c8::1"),
                    RouteConfig {
                        to: "10.9.0.0/16".into(),
                        via: None,
                        metric: Some(7),
                    },
                ],
                nameservers: vec!["1.1.1.1".into()],
                mtu: Some(1400),
                ..by_mac(0x0a, "lan")
            }],
        };
        let applied = apply(&wire).await.unwrap();
        assert!(applied.changed);
        assert_eq!(
            applied.summary,
            "192.100.0.10/24 on eth0, fd00:c8::a/64 on eth0; \
             left undone, as systemd-networkd is needed: nameservers 1.1.1.1 of lan"
        );
        let network = observe().await;
        assert_eq!(network.hostname, "k3s-dev");
        let eth0 = link(&network, "eth0");
        assert!(eth0.up);
        assert_eq!(eth0.mtu, 1400);
        assert_eq!(eth0.driver.as_deref(), Some("veth"));
        assert_eq!(addresses(eth0), ["192.100.0.10/24", "fd00:c8::a/64"]);
        assert!(
            eth0.addresses
                .iter()
                .filter(|one| one.global)
                .all(|one| one.readiness == Readiness::Ready)
        );
        assert_eq!(
            routes(eth0),
            [
                "0.0.0.0/0 via 192.100.0.1 metric 0",
                "10.9.0.0/16 metric 7",
                "::/0 via fd00:c8::1 metric 1024",
            ]
        );

        let again = apply(&wire).await.unwrap();
        assert!(!again.changed);
        assert_eq!(again.summary, applied.summary);
        assert_eq!(lasting(observe().await), lasting(network));

        let info = interfaces().await.unwrap();
        let names: Vec<&str> = info.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let eth0 = info.iter().find(|one| one.name == "eth0").unwrap();
        assert_eq!(
            (eth0.mac.as_str(), eth0.up, eth0.mtu),
            ("52:54:00:c8:32:0a", true, 1400)
        );
        assert!(eth0.addresses.contains(&"192.100.0.10/24".to_owned()));
    });
}

#[test]
fn the_host_name_of_the_machine_stays() {
    let outside = nix::unistd::gethostname().unwrap();
    run(async || {
        let wire = ApplyNetwork {
            hostname: Some("only-inside".into()),
            interfaces: vec![],
        };
        let applied = apply(&wire).await.unwrap();
        assert_eq!(
            (applied.changed, applied.summary.as_str()),
            (true, "host name only-inside")
        );
        assert_eq!(nix::unistd::gethostname().unwrap(), "only-inside");
        assert!(!apply(&wire).await.unwrap().changed);
    });
    assert_eq!(nix::unistd::gethostname().unwrap(), outside);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    run(async || {
        pair("eth0", "far0", 0x0a).await;
        pair("eth1", "far1", 0x0b).await;
        give("eth0", "10.0.0.5/24").await;
        let before = observe().await;
        let good = InterfaceConfig {
            addresses: vec!["10.0.0.6/24".into()],
            ..by_mac(0x0a, "a")
        };
        let bad = [
            InterfaceConfig {
                addresses: vec!["10.0.1.0/24".into()],
                ..by_mac(0x0b, "b")
            },
            InterfaceConfig {
                set_name: Some("far0".into()),
                ..by_mac(0x0b, "b")
            },
            InterfaceConfig {
                dhcp4: true,
                ..by_mac(0x0b, "b")
            },
            by_mac(0x77, "b"),
        ];
        for bad in bad {
            let error = apply(&asking(vec![good.clone(), bad])).await.unwrap_err();
            assert!(
                matches!(error, NetworkError::Config(_) | NetworkError::Plan(_)),
                "{error}"
            );
            assert_eq!(observe().await, before);
        }
    });
}

#[test]
fn a_refused_step_takes_back_the_earlier_ones() {
    run(async || {
        pair("ens3", "far0", 0x0a).await;
        up("far0").await;
        let first = InterfaceConfig {
            addresses: vec!["10.0.0.5/24".into(), "fd00::5/64".into()],
            routes: vec![default_via("10.0.0.1"), default_via("fd00::1")],
            ..by_mac(0x0a, "a")
        };
        apply(&asking(vec![first])).await.unwrap();
        let before = observe().await;

        // With DHCP the network of the gateway is not known beforehand: the kernel decides.
        let second = ApplyNetwork {
            hostname: Some("not-for-long".into()),
            interfaces: vec![InterfaceConfig {
                set_name: Some("eth0".into()),
                dhcp4: true,
                mtu: Some(1300),
                addresses: vec!["10.1.0.5/24".into(), "fd01::5/64".into()],
                routes: vec![RouteConfig {
                    to: "10.7.0.0/16".into(),
                    via: Some("10.77.0.1".into()),
                    metric: None,
                }],
                ..by_mac(0x0a, "a")
            }],
        };
        let error = apply(&second).await.unwrap_err();
        assert!(
            matches!(error, NetworkError::Reverted(_)),
            "{}",
            chain(&error)
        );
        let text = chain(&error);
        assert!(
            text.contains("cannot add route 10.7.0.0/16 via 10.77.0.1"),
            "{text}"
        );
        assert!(text.contains("unreachable"), "{text}");
        assert_eq!(lasting(observe().await), lasting(before));
    });
}

#[test]
fn a_link_that_was_down_is_down_again_after_a_refused_step() {
    run(async || {
        pair("ens3", "far0", 0x0a).await;
        let before = observe().await;
        let wire = InterfaceConfig {
            set_name: Some("eth0".into()),
            dhcp4: true,
            addresses: vec!["10.1.0.5/24".into()],
            routes: vec![default_via("10.77.0.1")],
            ..by_mac(0x0a, "a")
        };
        let error = apply(&asking(vec![wire])).await.unwrap_err();
        assert!(
            matches!(error, NetworkError::Reverted(_)),
            "{}",
            chain(&error)
        );
        assert_eq!(lasting(observe().await), lasting(before));
    });
}

#[test]
fn two_links_trade_names() {
    run(async || {
        let first = pair("eth0", "far0", 0x0a).await;
        let second = pair("eth1", "far1", 0x0b).await;
        up("eth0").await;
        up("eth1").await;
        let wire = asking(vec![
            InterfaceConfig {
                set_name: Some("eth1".into()),
                addresses: vec!["10.0.0.5/24".into()],
                ..by_mac(0x0a, "a")
            },
            InterfaceConfig {
                set_name: Some("eth0".into()),
                ..by_mac(0x0b, "b")
            },
        ]);
        let applied = apply(&wire).await.unwrap();
        assert_eq!(applied.summary, "10.0.0.5/24 on eth1, eth0 up");
        let network = observe().await;
        assert_eq!(link(&network, "eth1").index, first);
        assert_eq!(link(&network, "eth0").index, second);
        assert!(link(&network, "eth0").up && link(&network, "eth1").up);
        assert!(!apply(&wire).await.unwrap().changed);
    });
}

#[test]
fn a_later_configuration_replaces_an_earlier_one() {
    run(async || {
        pair("eth0", "far0", 0x0a).await;
        pair("eth1", "far1", 0x0b).await;
        up("far0").await;
        give("eth1", "10.5.0.5/24").await;
        let wire = |hosts: &[&str], via: &str| {
            asking(vec![InterfaceConfig {
                addresses: hosts.iter().map(|&host| host.into()).collect(),
                routes: vec![default_via(via)],
                ..by_mac(0x0a, "a")
            }])
        };
        apply(&wire(&["10.0.0.5/24", "10.0.0.6/24"], "10.0.0.1"))
            .await
            .unwrap();
        // The first address of a network takes the second along when it goes.
        apply(&wire(&["10.0.0.6/24"], "10.0.0.2")).await.unwrap();
        let network = observe().await;
        assert_eq!(addresses(link(&network, "eth0")), ["10.0.0.6/24"]);
        assert_eq!(
            routes(link(&network, "eth0")),
            ["0.0.0.0/0 via 10.0.0.2 metric 0"]
        );

        apply(&wire(&["192.100.0.10/24"], "192.100.0.1"))
            .await
            .unwrap();
        let network = observe().await;
        assert_eq!(addresses(link(&network, "eth0")), ["192.100.0.10/24"]);
        assert_eq!(
            routes(link(&network, "eth0")),
            ["0.0.0.0/0 via 192.100.0.1 metric 0"]
        );
        assert_eq!(addresses(link(&network, "eth1")), ["10.5.0.5/24"]);

        apply(&wire(&["192.100.0.10/16"], "192.100.0.1"))
            .await
            .unwrap();
        let network = observe().await;
        assert_eq!(addresses(link(&network, "eth0")), ["192.100.0.10/16"]);
        assert_eq!(
            routes(link(&network, "eth0")),
            ["0.0.0.0/0 via 192.100.0.1 metric 0"]
        );
    });
}

#[test]
fn an_address_that_another_host_has_is_refused() {
    run(async || {
        pair("eth0", "far0", 0x0a).await;
        up("eth0").await;
        up("far0").await;
        // The other end is settled first, by the same means.
        let far = InterfaceConfig {
            id: "far0".into(),
            addresses: vec!["fd00:c8::a/64".into()],
            ..InterfaceConfig::default()
        };
        apply(&asking(vec![far])).await.unwrap();
        let before = observe().await;

        let wire = InterfaceConfig {
            addresses: vec!["192.100.0.10/24".into(), "fd00:c8::a/64".into()],
            ..by_mac(0x0a, "a")
        };
        let error = apply(&asking(vec![wire])).await.unwrap_err();
        assert_eq!(
            chain(&error),
            "the network was not changed: the change failed and has been taken back: \
             address fd00:c8::a/64 on eth0 is in use by another host"
        );
        assert_eq!(lasting(observe().await), lasting(before));
    });
}

#[test]
fn a_link_without_a_carrier_is_not_waited_for() {
    run(async || {
        pair("eth0", "far0", 0x0a).await;
        let wire = InterfaceConfig {
            addresses: vec!["fd00:c8::a/64".into()],
            ..by_mac(0x0a, "a")
        };
        let applied = apply(&asking(vec![wire.clone()])).await.unwrap();
        assert!(applied.changed);
        let network = observe().await;
        assert!(link(&network, "eth0").up && !link(&network, "eth0").carrier);
        assert!(!apply(&asking(vec![wire])).await.unwrap().changed);
    });
}

#[test]
fn a_connection_that_has_ended_is_an_error_and_not_an_empty_network() {
    run(async || {
        let netlink = Netlink::open().unwrap();
        netlink.connection.abort();
        let mut waiting = netlink.observe().await;
        while waiting.is_ok() {
            waiting = netlink.observe().await;
        }
        assert_eq!(
            waiting.unwrap_err().to_string(),
            "cannot read the kernel's links"
        );
        netlink.close().await;
    });
}
