use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, RouteConfig};

use super::super::super::observed::ObservedLink;
use super::*;

fn rendered(
    interface: InterfaceConfig,
    hostname: Option<&str>,
    link: Option<&ObservedLink>,
) -> String {
    let wire = ApplyNetwork {
        hostname: hostname.map(str::to_owned),
        interfaces: vec![interface],
    };
    let config = NetworkConfig::parse(&wire).unwrap();
    let links: Vec<&ObservedLink> = link.into_iter().collect();
    let files = files(&config, &links);
    let texts = files.iter().map(|file| {
        let body: Vec<&str> = file.text.lines().skip(1).collect();
        format!("--- {}\n{}\n", file.name, body.join("\n"))
    });
    texts.collect()
}

fn nic(id: &str) -> InterfaceConfig {
    InterfaceConfig {
        id: id.to_owned(),
        dhcp_use_routes: true,
        dhcp_use_dns: true,
        ..InterfaceConfig::default()
    }
}

fn route(to: &str, via: Option<&str>, metric: Option<u32>) -> RouteConfig {
    RouteConfig {
        to: to.to_owned(),
        via: via.map(str::to_owned),
        metric,
    }
}

#[test]
fn a_static_card_by_its_address_with_a_new_name() {
    let interface = InterfaceConfig {
        match_mac: Some("52:54:00:C8:32:0A".to_owned()),
        set_name: Some("k8snet".to_owned()),
        addresses: vec!["192.100.0.10/24".to_owned(), "fd00::10/64".to_owned()],
        routes: vec![
            route("default", Some("192.100.0.1"), None),
            route("default", Some("fd00::1"), None),
            route("10.1.0.0/16", None, Some(50)),
        ],
        nameservers: vec!["192.100.0.1".to_owned(), "fd00::1".to_owned()],
        search: vec!["lkc.test".to_owned(), "example.org".to_owned()],
        mtu: Some(1400),
        ..nic("k8snet")
    };
    let permanent = ObservedLink {
        permanent_mac: "52:54:00:c8:32:0a".parse().ok(),
        ..ObservedLink::default()
    };
    let expected = "--- 00-lkc-k8snet.link\n[Match]\nPermanentMACAddress=52:54:00:c8:32:0a\n\n\
        [Link]\nNamePolicy=\nName=k8snet\nMTUBytes=1400\n\
        --- 00-lkc-k8snet.network\n[Match]\nPermanentMACAddress=52:54:00:c8:32:0a\n\n\
        [Link]\nMTUBytes=1400\n\n\
        [Network]\nDHCP=no\nLinkLocalAddressing=ipv6\nConfigureWithoutCarrier=yes\n\
        DNS=192.100.0.1\nDNS=fd00::1\nDomains=lkc.test example.org\n\n\
        [Address]\nAddress=192.100.0.10/24\n\n[Address]\nAddress=fd00::10/64\n\n\
        [Route]\nDestination=0.0.0.0/0\nGateway=192.100.0.1\n\n\
        [Route]\nDestination=::/0\nGateway=fd00::1\n\n\
        [Route]\nDestination=10.1.0.0/16\nMetric=50\n";
    assert_eq!(
        rendered(interface.clone(), Some("k3s-dev"), Some(&permanent)),
        expected
    );
    let without = expected.replace("PermanentMACAddress", "MACAddress");
    assert_eq!(rendered(interface, None, None), without);
}

#[test]
fn a_lease_of_which_only_the_address_is_taken() {
    let interface = InterfaceConfig {
        match_name: Some("eth*".to_owned()),
        dhcp4: true,
        dhcp6: true,
        dhcp_use_routes: false,
        dhcp_use_dns: false,
        ..nic("uplink")
    };
    let expected = "--- 00-lkc-uplink.network\n[Match]\nName=eth*\n\n\
        [Network]\nDHCP=yes\nLinkLocalAddressing=ipv6\n\n\
        [DHCPv4]\nUseRoutes=no\nUseGateway=no\nUseDNS=no\nUseHostname=no\n\n\
        [DHCPv6]\nWithoutRA=solicit\nUseDNS=no\nUseHostname=no\n\n\
        [IPv6AcceptRA]\nUseGateway=no\nUseRoutePrefix=no\nUseDNS=no\n";
    assert_eq!(rendered(interface, Some("k3s-dev"), None), expected);
}

#[test]
fn what_a_link_is_found_by() {
    let table = [
        (nic("eth0"), "Name=eth0", None),
        (
            InterfaceConfig {
                set_name: Some("lan".to_owned()),
                ..nic("eth0")
            },
            "Name=eth0 lan",
            Some("OriginalName=eth0"),
        ),
        (
            InterfaceConfig {
                match_driver: Some("virtio*".to_owned()),
                set_name: Some("lan".to_owned()),
                ..nic("x")
            },
            "Driver=virtio*",
            Some("Driver=virtio*"),
        ),
        (
            InterfaceConfig {
                match_name: Some("en*".to_owned()),
                set_name: Some("lan".to_owned()),
                ..nic("x")
            },
            "Name=en* lan",
            Some("OriginalName=en*"),
        ),
    ];
    for (interface, network, link) in table {
        let text = rendered(interface, None, None);
        let matches: Vec<&str> = text
            .split("[Match]\n")
            .skip(1)
            .filter_map(|rest| rest.lines().next())
            .collect();
        let expected: Vec<&str> = link.into_iter().chain([network]).collect();
        assert_eq!(matches, expected, "{text}");
    }
}

#[test]
fn the_fallback_is_for_cards_alone() {
    let text = fallback().text;
    assert!(text.contains("Name=en* eth*\n"), "{text}");
    let named = |name: &str| ObservedLink {
        name: name.to_owned(),
        mac: "52:54:00:c8:32:0a".parse().ok(),
        ..ObservedLink::default()
    };
    assert!(is_card(&named("enp5s0")) && is_card(&named("eth0")));
    assert!(!is_card(&named("cni0")) && !is_card(&named("veth12")));
}
