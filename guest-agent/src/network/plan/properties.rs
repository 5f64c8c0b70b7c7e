//! Plans against the model: every step is one that the kernel takes, the end is what was asked for,
//! and there is a way back.

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, RouteConfig};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::super::address::MacAddr;
use super::super::config::{NetworkConfig, Route};
use super::super::observed::{KernelRoute, ObservedLink, ObservedNetwork, Origin};
use super::{Action, LinkRef, Means, model, plan, restore};

#[derive(Debug, Clone)]
struct LinkSpec {
    up: bool,
    mtu: u32,
    /// Pairs of network and host numbers.
    addresses: Vec<(u8, u8)>,
    gateway: Option<(u8, u8, Origin)>,
}

#[derive(Debug, Clone)]
struct InterfaceSpec {
    configured: bool,
    by_name: bool,
    set_name: Option<u8>,
    dhcp: bool,
    mtu: Option<u32>,
    hosts: Vec<u8>,
    default_route: bool,
}

fn v4(network: u8, host: u8) -> String {
    format!("10.1.{network}.{host}/24")
}

fn v6(network: u8, host: u8) -> String {
    format!("fd00:{network}::{host}/64")
}

fn link_spec() -> impl Strategy<Value = LinkSpec> {
    let origin = prop_oneof![
        Just(Origin::Boot),
        Just(Origin::Dhcp),
        Just(Origin::Other(12)),
        Just(Origin::RouterAdvertisement)
    ];
    (
        any::<bool>(),
        prop_oneof![Just(1500), Just(1400), Just(1000)],
        proptest::collection::vec((0u8..4, 2u8..6), 0..4),
        proptest::option::of((0u8..4, 1u8..2, origin)),
    )
        .prop_map(|(up, mtu, addresses, gateway)| LinkSpec {
            up,
            mtu,
            addresses,
            gateway,
        })
}

fn interface_spec() -> impl Strategy<Value = InterfaceSpec> {
    (
        any::<bool>(),
        prop::bool::weighted(0.2),
        proptest::option::of(0u8..5),
        prop::bool::weighted(0.2),
        proptest::option::of(prop_oneof![Just(1280u32), Just(1000), Just(1500)]),
        proptest::collection::btree_set(2u8..6, 0..3),
        any::<bool>(),
    )
        .prop_map(
            |(configured, by_name, set_name, dhcp, mtu, hosts, default_route)| InterfaceSpec {
                configured,
                by_name,
                set_name,
                dhcp,
                mtu,
                hosts: hosts.into_iter().collect(),
                default_route,
            },
        )
}

fn mac(link: usize) -> String {
    format!("52:54:00:c8:32:{link:02x}")
}

/// Builds the links by steps of the model, leaving out those that it refuses.
fn network(specs: &[LinkSpec]) -> ObservedNetwork {
    let links = specs.iter().enumerate().map(|(at, spec)| ObservedLink {
        index: at as u32 + 2,
        name: format!("eth{at}"),
        mac: Some(mac(at).parse::<MacAddr>().unwrap()),
        mtu: spec.mtu,
        carrier: true,
        ..ObservedLink::default()
    });
    let mut network = ObservedNetwork {
        hostname: "old".into(),
        links: links.collect(),
    };
    for (at, spec) in specs.iter().enumerate() {
        let link = || LinkRef {
            index: at as u32 + 2,
            name: format!("eth{at}"),
        };
        let mut steps = Vec::new();
        if spec.up {
            steps.push(Action::SetUp { link: link() });
        }
        for &(net, host) in &spec.addresses {
            for text in [v4(net, host), v6(net, host)] {
                steps.push(Action::AddAddress {
                    link: link(),
                    address: text.parse().unwrap(),
                });
            }
        }
        if let Some((net, host, origin)) = spec.gateway {
            let via = format!("10.1.{net}.{host}").parse().unwrap();
            let to = "0.0.0.0/0".parse().unwrap();
            let route = Route {
                to,
                via: Some(via),
                metric: 0,
            };
            let route = KernelRoute {
                origin,
                ..KernelRoute::asked(route)
            };
            steps.push(Action::AddRoute {
                link: link(),
                route,
            });
        }
        for action in steps {
            let _refused = model::step(&mut network, &action);
        }
    }
    network
}

fn wire(specs: &[InterfaceSpec], shift: u8) -> ApplyNetwork {
    let interfaces = specs.iter().enumerate().filter(|(_, spec)| spec.configured);
    let interfaces = interfaces.map(|(at, spec)| {
        let net = (at as u8 + shift) % 4;
        let addresses = spec
            .hosts
            .iter()
            .flat_map(|&host| [v4(net, host), v6(net, host)]);
        let addresses: Vec<String> = if spec.mtu == Some(1000) {
            addresses.filter(|text| text.contains('.')).collect()
        } else {
            addresses.collect()
        };
        let route = RouteConfig {
            to: "default".into(),
            via: Some(format!("10.1.{net}.1")),
            metric: (at > 0).then_some(at as u32 * 100),
        };
        let routed = spec.default_route && !addresses.is_empty();
        InterfaceConfig {
            id: format!("eth{at}"),
            match_mac: (!spec.by_name).then(|| mac(at)),
            set_name: spec.set_name.map(|name| format!("eth{name}")),
            dhcp4: spec.dhcp,
            routes: routed.then_some(route).into_iter().collect(),
            mtu: spec.mtu,
            addresses,
            ..InterfaceConfig::default()
        }
    });
    ApplyNetwork {
        hostname: Some("new".into()),
        interfaces: interfaces.collect(),
    }
}

/// Checks one case; the answer tells whether there was a plan.
fn check(
    links: &[LinkSpec],
    interfaces: &[InterfaceSpec],
    shift: u8,
) -> Result<bool, TestCaseError> {
    let before = network(links);
    let Ok(config) = NetworkConfig::parse(&wire(interfaces, shift)) else {
        return Ok(false);
    };
    let Ok(planned) = plan(&config, &before, Means::Netlink) else {
        return Ok(false);
    };

    let mut after = before.clone();
    model::run(&mut after, &planned.actions).map_err(TestCaseError::fail)?;
    let again = plan(&config, &after, Means::Netlink)
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(again.actions, vec![], "planned {:#?}", planned.actions);
    for (interface, &index) in config.interfaces.iter().zip(&planned.links) {
        let link = after.link(index).unwrap();
        prop_assert!(link.up);
        prop_assert!(
            interface
                .set_name
                .as_ref()
                .is_none_or(|name| link.name == name.as_str())
        );
        for address in &interface.addresses {
            prop_assert!(link.addresses.iter().any(|one| one.address == *address));
        }
        for route in &interface.routes {
            prop_assert!(link.routes.iter().any(|one| one.route == *route));
        }
    }
    for link in &before.links {
        if !planned.links.contains(&link.index) {
            prop_assert_eq!(Some(link), after.link(link.index));
        }
    }

    // From every state on the way there is a way back.
    let mut midway = before.clone();
    for action in &planned.actions {
        model::step(&mut midway, action).map_err(TestCaseError::fail)?;
        let mut back = midway.clone();
        let steps = restore(&before, &back, &planned.links).unwrap();
        model::run(&mut back, &steps)
            .map_err(|why| TestCaseError::fail(format!("{why} after {action} in {steps:#?}")))?;
        let left = restore(&before, &back, &planned.links).unwrap();
        prop_assert_eq!(left, vec![], "back from {}", action);
    }
    Ok(true)
}

fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(0x6c6b_6300),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn plans_reach_what_is_asked_and_can_be_taken_back() {
    use std::cell::Cell;

    let planned = Cell::new(0u32);
    let mut runner = proptest::test_runner::TestRunner::new(fixed(2000));
    let links = proptest::collection::vec(link_spec(), 1..5);
    let interfaces = proptest::collection::vec(interface_spec(), 4);
    runner
        .run(
            &(links, interfaces, 0u8..4),
            |(links, interfaces, shift)| {
                let interfaces = &interfaces[..links.len().min(interfaces.len())];
                planned.set(planned.get() + u32::from(check(&links, interfaces, shift)?));
                Ok(())
            },
        )
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(
        planned.get() > 500,
        "only {} cases had a plan",
        planned.get()
    );
}

proptest! {
    #![proptest_config(fixed(500))]

    #[test]
    fn texts_from_the_host_never_panic(
        id in ".{0,20}",
        mac in proptest::option::of("[0-9a-f:]{0,20}"),
        addresses in proptest::collection::vec("[0-9a-f:./]{0,24}|\\PC{0,10}", 0..4),
        to in "default|[0-9a-f:./]{0,24}",
        via in proptest::option::of("[0-9a-f:.]{0,20}"),
        mtu in proptest::option::of(any::<u32>()),
    ) {
        let wire = ApplyNetwork {
            hostname: Some(id.clone()),
            interfaces: vec![InterfaceConfig {
                id,
                match_mac: mac,
                addresses,
                routes: vec![RouteConfig { to, via, metric: None }],
                mtu,
                ..InterfaceConfig::default()
            }],
        };
        if let Err(error) = NetworkConfig::parse(&wire) {
            prop_assert!(!error.to_string().contains(char::is_control), "{error:?}");
        }
    }
}
