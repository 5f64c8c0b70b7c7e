//! Configurations as hosts write them.

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, RouteConfig};

use crate::machine::MACS;

/// The users' machine with one card: a static address where the image has a DHCP fallback.
pub(crate) fn single() -> ApplyNetwork {
    ApplyNetwork {
        hostname: Some("k3s-dev".to_owned()),
        interfaces: vec![InterfaceConfig {
            addresses: vec!["10.77.0.10/24".to_owned(), "fd00:77:0::10/64".to_owned()],
            routes: vec![default_by("10.77.0.1")],
            nameservers: vec!["10.77.0.1".to_owned()],
            ..of_card(0)
        }],
    }
}

/// The users' machine with two: DHCP without its routes and servers, and a static one by its MAC.
pub(crate) fn dual() -> ApplyNetwork {
    ApplyNetwork {
        hostname: Some("k3s-dev".to_owned()),
        interfaces: vec![
            InterfaceConfig {
                dhcp4: true,
                dhcp_use_routes: false,
                dhcp_use_dns: false,
                ..of_card(0)
            },
            InterfaceConfig {
                set_name: Some("k8snet".to_owned()),
                addresses: vec!["192.100.0.10/24".to_owned()],
                routes: vec![default_by("192.100.0.1")],
                nameservers: vec!["192.100.0.1".to_owned()],
                search: vec!["lkc.test".to_owned()],
                mtu: Some(1400),
                ..of_card(1)
            },
        ],
    }
}

pub(crate) fn of_card(number: usize) -> InterfaceConfig {
    InterfaceConfig {
        id: format!("nic{number}"),
        match_mac: Some(MACS[number].to_owned()),
        dhcp_use_routes: true,
        dhcp_use_dns: true,
        ..InterfaceConfig::default()
    }
}

pub(crate) fn default_by(via: &str) -> RouteConfig {
    RouteConfig {
        to: "default".to_owned(),
        via: Some(via.to_owned()),
        metric: None,
    }
}
