use lkc_protocol::message::RouteConfig;

use super::*;

mod together;

fn eth0() -> InterfaceConfig {
    InterfaceConfig {
        id: "eth0".into(),
        match_mac: Some("52:54:00:c8:32:0a".into()),
        addresses: vec!["192.100.0.10/24".into()],
        ..InterfaceConfig::default()
    }
}

fn to(to: &str, via: &str) -> RouteConfig {
    RouteConfig {
        to: to.into(),
        via: (!via.is_empty()).then(|| via.into()),
        metric: None,
    }
}

fn parse(interfaces: Vec<InterfaceConfig>) -> Result<NetworkConfig, String> {
    let wire = ApplyNetwork {
        hostname: None,
        interfaces,
    };
    NetworkConfig::parse(&wire).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(interfaces: Vec<InterfaceConfig>, message: &str) {
    let error = parse(interfaces).unwrap_err();
    assert_eq!(error, message);
    assert!(!error.contains(char::is_control), "{error:?}");
}

#[test]
fn a_usual_configuration() {
    let wire = InterfaceConfig {
        set_name: Some("lan0".into()),
        addresses: vec![
            "192.100.0.10/24".into(),
            "fd00::a/64".into(),
            "10.9.0.1/32".into(),
        ],
        routes: vec![
            to("default", "192.100.0.1"),
            to("default", "fe80::1"),
            to("10.9.1.0/24", ""),
            to("169.254.169.254", "192.100.0.2"),
        ],
        nameservers: vec!["1.1.1.1".into(), "2606:4700::1111".into()],
        search: vec!["lab.example".into()],
        mtu: Some(1500),
        ..eth0()
    };
    let config = parse(vec![wire]).unwrap();
    let interface = &config.interfaces[0];
    assert_eq!(
        interface.matcher.to_string(),
        "hardware address 52:54:00:c8:32:0a"
    );
    let routes: Vec<String> = interface.routes.iter().map(ToString::to_string).collect();
    assert_eq!(
        routes,
        [
            "0.0.0.0/0 via 192.100.0.1 metric 0",
            "::/0 via fe80::1 metric 1024",
            "10.9.1.0/24 metric 0",
            "169.254.169.254/32 via 192.100.0.2 metric 0",
        ]
    );
}

#[test]
fn bad_addresses() {
    let table = [
        ("256.1.1.1/24", "256.1.1.1/24: not an IP address"),
        ("", "\"\": not an IP address"),
        (
            "10.0.0.1",
            "10.0.0.1: the prefix length is missing; write it like 192.100.0.10/24",
        ),
        (
            "10.0.0.1/33",
            "10.0.0.1/33: the prefix length is not a number between 0 and 32",
        ),
        (
            "10.0.0.1/0",
            "10.0.0.1/0: prefix length 0 makes every address a neighbour",
        ),
        (
            "10.0.0.0/24",
            "10.0.0.0/24: it is the address of the network, not of a host in it",
        ),
        (
            "fd00::/64",
            "fd00::/64: it is the address of the network, not of a host in it",
        ),
        (
            "10.0.0.255/24",
            "10.0.0.255/24: it is the broadcast address of its network",
        ),
        (
            "255.255.255.255/32",
            "255.255.255.255/32: it is the broadcast address of its network",
        ),
        (
            "224.0.0.1/24",
            "224.0.0.1/24: a multicast address cannot be a host's own",
        ),
        (
            "ff02::1/64",
            "ff02::1/64: a multicast address cannot be a host's own",
        ),
        ("0.0.0.0/24", "0.0.0.0/24: it stands for no address at all"),
        ("::/64", "::/64: it stands for no address at all"),
        ("0.1.2.3/24", "0.1.2.3/24: the range is reserved"),
        ("240.0.0.1/24", "240.0.0.1/24: the range is reserved"),
        (
            "127.0.0.1/8",
            "127.0.0.1/8: loopback addresses belong to lo",
        ),
        ("::1/128", "::1/128: loopback addresses belong to lo"),
        (
            "::ffff:10.0.0.1/120",
            "::ffff:10.0.0.1/120: it is an IPv4 address in IPv6 clothes; write it as IPv4",
        ),
        (
            "169.254.1.1/16",
            "169.254.1.1/16: link-local addresses are made by the kernel",
        ),
        (
            "fe80::1/64",
            "fe80::1/64: link-local addresses are made by the kernel",
        ),
        ("fe80::1%eth0/64", "fe80::1%eth0/64: not an IP address"),
        (
            "10.42.7.1/24",
            "10.42.7.1/24: its network overlaps 10.42.0.0/16, which k3s uses for pods",
        ),
        (
            "10.43.0.1/16",
            "10.43.0.1/16: its network overlaps 10.43.0.0/16, which k3s uses for services",
        ),
        (
            "10.1.0.1/8",
            "10.1.0.1/8: its network overlaps 10.42.0.0/16, which k3s uses for pods",
        ),
        (
            "10.0.0.1/24\n[Route]",
            "\"10.0.0.1/24\\n[Route]\": the prefix length is not a number between 0 and 32",
        ),
    ];
    for (text, message) in table {
        let wire = InterfaceConfig {
            addresses: vec![text.into()],
            ..eth0()
        };
        refused(vec![wire], &format!("interface eth0: address {message}"));
    }
    let wire = InterfaceConfig {
        addresses: vec!["10.0.0.1/24".into(), "10.0.0.1/16".into()],
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: address 10.0.0.1/16: it is there twice",
    );
}

#[test]
fn networks_of_one_or_two_addresses_have_no_reserved_ones() {
    for text in [
        "10.0.0.0/31",
        "10.0.0.1/31",
        "10.0.0.0/32",
        "fd00::/127",
        "fd00::/128",
    ] {
        let wire = InterfaceConfig {
            addresses: vec![text.into()],
            ..eth0()
        };
        assert!(parse(vec![wire]).is_ok(), "{text}");
    }
}

#[test]
fn bad_names() {
    let table = [
        ("", "\"\": \"\": the name is empty"),
        ("lo", "lo: lo: the name is reserved"),
        ("..", "..: ..: the name is reserved"),
        (
            "../x",
            "../x: ../x: the name has a character that is not allowed ('/')",
        ),
        (
            "eth0\n[Network]",
            "\"eth0\\n[Network]\": \"eth0\\n[Network]\": the name has a character that is not allowed ('\\n')",
        ),
        (
            "sixteen-bytes-xy",
            "sixteen-bytes-xy: sixteen-bytes-xy: the name is longer than 15 bytes",
        ),
    ];
    for (text, message) in table {
        let wire = InterfaceConfig {
            id: text.into(),
            ..eth0()
        };
        refused(vec![wire], &format!("interface {message}"));
        let wire = InterfaceConfig {
            set_name: Some(text.into()),
            ..eth0()
        };
        let message = message.split_once(": ").unwrap().1;
        refused(vec![wire], &format!("interface eth0: {message}"));
    }
    for mac in ["", "52:54:00", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        let wire = InterfaceConfig {
            match_mac: Some(mac.into()),
            ..eth0()
        };
        let error = parse(vec![wire]).unwrap_err();
        assert!(
            error.contains("not the hardware address of a device"),
            "{error}"
        );
    }
    for glob in ["", "a b", "[ab]", "../*"] {
        let wire = InterfaceConfig {
            match_mac: None,
            match_name: Some(glob.into()),
            ..eth0()
        };
        assert!(parse(vec![wire]).is_err(), "{glob}");
        let wire = InterfaceConfig {
            match_mac: None,
            match_driver: Some(glob.into()),
            ..eth0()
        };
        assert!(parse(vec![wire]).is_err(), "{glob}");
    }
}

#[test]
fn bad_host_name() {
    let wire = ApplyNetwork {
        hostname: Some("bücher".into()),
        interfaces: vec![],
    };
    let error = NetworkConfig::parse(&wire).unwrap_err();
    assert_eq!(
        error.to_string(),
        "host name: the name has a character that is not allowed ('ü')"
    );
}

#[test]
fn bad_name_servers() {
    for text in [
        "bücher.example",
        "dns.example",
        "0.0.0.0",
        "224.0.0.251",
        "",
    ] {
        let wire = InterfaceConfig {
            nameservers: vec![text.into()],
            ..eth0()
        };
        let error = parse(vec![wire]).unwrap_err();
        assert!(error.contains("not the IP address of a server"), "{error}");
    }
    let wire = InterfaceConfig {
        search: vec!["a b".into()],
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: \"a b\": the name has a character that is not allowed (' ')",
    );
}

#[test]
fn mtu_bounds() {
    for (mtu, good) in [
        (67, false),
        (68, true),
        (1279, true),
        (65535, true),
        (65536, false),
    ] {
        let wire = InterfaceConfig {
            mtu: Some(mtu),
            ..eth0()
        };
        assert_eq!(parse(vec![wire]).is_ok(), good, "{mtu}");
    }
    let wire = InterfaceConfig {
        mtu: Some(65536),
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: MTU 65536 is not between 68 and 65535",
    );
    let wire = InterfaceConfig {
        mtu: Some(1279),
        addresses: vec!["fd00::1/64".into()],
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: MTU 1279 is not between 1280 and 65535, which IPv6 needs",
    );
}

#[test]
fn too_many_of_anything() {
    let many = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
    let wire = InterfaceConfig {
        nameservers: many(17),
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: 17 nameservers are too many, at most 16 are taken",
    );
    let wire = InterfaceConfig {
        search: many(17),
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: 17 search domains are too many, at most 16 are taken",
    );
    let wire = InterfaceConfig {
        addresses: many(65),
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: 65 addresses are too many, at most 64 are taken",
    );
    let wire = InterfaceConfig {
        routes: vec![to("default", ""); 10_000],
        ..eth0()
    };
    refused(
        vec![wire],
        "interface eth0: 10000 routes are too many, at most 256 are taken",
    );
    refused(
        vec![eth0(); 33],
        "33 interfaces are too many, at most 32 are taken",
    );
}
