//! What sound configurations lead to.

use std::{net::IpAddr, time::Duration};

use lkc_protocol::message::{Cni, K3sRole, Rung};

use super::{
    super::{ClusterSpec, EXAMPLE, Encrypt, ForwardProtocol, ForwardSpec, check_against},
    config, no_config,
};
use crate::{
    control::goal::Goal,
    error::{CommandError, Kind},
};

fn spec(text: &str) -> ClusterSpec {
    config(text)
        .unwrap_or_else(|error| panic!("{error}"))
        .clusters
        .remove(0)
        .0
}

#[test]
fn the_default_cluster_is_the_documented_one() {
    let config = no_config();
    let (spec, up) = &config.clusters[0];
    assert_eq!(spec.name.as_str(), "k3s-dev");
    assert_eq!(
        (spec.address.to_string(), spec.prefix),
        ("192.100.0.10".to_owned(), 24)
    );
    assert_eq!(spec.mac.to_string(), "52:54:00:c8:32:0a");
    assert_eq!(spec.interface, "eth0");
    assert_eq!(spec.api_port(), Some(6443));
    let ports: Vec<_> = spec
        .forwards
        .iter()
        .map(|forward| (forward.name.as_str(), forward.host_port, forward.guest_port))
        .collect();
    assert_eq!(
        ports,
        [
            ("api", 6443, 6443),
            ("http", 8080, 80),
            ("https", 8443, 443),
            ("ssh", 2210, 22)
        ]
    );
    let loopback: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    assert!(spec.forwards.iter().all(|forward| forward.bind == loopback));
    assert_eq!(up.goal, Goal::Rung(Rung::Node));
    assert_eq!(up.timeout, Duration::from_secs(300));
    assert_eq!(config.warnings, []);
}

#[test]
fn the_example_says_the_defaults_and_is_sound() {
    let config =
        config(EXAMPLE).unwrap_or_else(|error| panic!("{}", error.report(Default::default())));
    assert_eq!(config.warnings, []);
    let (example, up) = &config.clusters[0];
    let default = no_config().clusters.remove(0);
    assert_eq!(*up, default.1);
    let said = ClusterSpec {
        gateway: example.gateway,
        mtu: example.mtu,
        nameservers: example.nameservers.clone(),
        k3s: example.k3s.clone(),
        forwards: example
            .forwards
            .iter()
            .filter(|forward| !["postgres", "pg"].contains(&forward.name.as_str()))
            .cloned()
            .collect(),
        reverse: Vec::new(),
        ..example.clone()
    };
    let expected = ClusterSpec {
        gateway: example.gateway,
        mtu: example.mtu,
        nameservers: example.nameservers.clone(),
        k3s: example.k3s.clone(),
        ..default.0
    };
    assert_eq!(said, expected);
    assert_eq!(
        example.k3s.settings,
        ["kubelet-arg=max-pods=50", "write-kubeconfig-mode=0600"]
    );
    assert_eq!(config.clusters[1].1.goal, Goal::Rung(Rung::Api));
}

#[test]
fn every_index_has_ports_and_addresses_of_its_own() {
    let text: String = (0..90)
        .map(|index| format!("[cluster.c{index}]\nindex = {index}\n"))
        .collect();
    let config = config(&text).unwrap();
    assert_eq!(config.clusters.len(), 90);
    let (last, _) = &config.clusters[89];
    assert_eq!(last.address.to_string(), "192.100.0.99");
    assert_eq!(last.mac.to_string(), "52:54:00:c8:32:63");
    assert_eq!(last.forwards[3].host_port, 2299);
}

#[test]
fn a_specification_survives_as_json() {
    for (spec, _) in config(EXAMPLE).unwrap().clusters {
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<ClusterSpec>(&json).unwrap(), spec);
    }
}

#[test]
fn settings_are_put_in_k3s_own_words() {
    let spec = spec(
        "[cluster.a.k3s]\nbinary = \"bin/k3s\"\n[cluster.a.k3s.settings]\n\
         kubelet-arg = [\"a=b\", \"c\"]\ndebug = true\nprefer-bundled-bin = false\nv = 0x10\nnone = []",
    );
    let expected = [
        "kubelet-arg=a=b",
        "kubelet-arg=c",
        "debug",
        "prefer-bundled-bin=false",
        "v=16",
    ];
    assert_eq!(spec.k3s.settings, expected);
    assert_eq!(spec.k3s.binary.unwrap().to_str(), Some("/p/bin/k3s"));
}

#[test]
fn programs_are_relative_to_the_file_or_the_home_directory() {
    for (written, expected) in [
        ("~/k3s", "/home/u/k3s"),
        ("/opt/k3s", "/opt/k3s"),
        ("k3s", "/p/k3s"),
    ] {
        let spec = spec(&format!("[cluster.a.k3s]\nbinary = \"{written}\""));
        assert_eq!(spec.k3s.binary.unwrap().to_str(), Some(expected));
    }
}

#[test]
fn forwards_have_targets_in_three_forms() {
    for (guest, host, port) in [
        ("80", "127.0.0.1", 80),
        ("\"80\"", "127.0.0.1", 80),
        ("\"[::1]:80\"", "::1", 80),
        ("\"db.default.svc:5432\"", "db.default.svc", 5432),
    ] {
        let spec = spec(&format!(
            "[[cluster.a.forward]]\nhost = 9000\nguest = {guest}"
        ));
        let forward = spec.forwards.last().unwrap();
        assert_eq!(
            (forward.guest_host.as_str(), forward.guest_port),
            (host, port)
        );
        assert_eq!(
            (forward.name.as_str(), forward.host_port),
            ("port-9000", 9000)
        );
    }
}

#[test]
fn sockets_are_relative_to_the_file_or_the_home_directory() {
    for (written, expected, name) in [
        ("~/pg.sock", "/home/u/pg.sock", "pg"),
        ("/run/db.sock", "/run/db.sock", "db"),
        ("run/web", "/p/run/web", "web"),
    ] {
        let spec = spec(&format!(
            "[[cluster.a.forward]]\nhost = \"unix:{written}\"\nguest = 80"
        ));
        let forward = spec.forwards.last().unwrap();
        assert_eq!(forward.listens_on(), [format!("unix:{expected}")]);
        assert_eq!((forward.name.as_str(), forward.guest_port), (name, 80));
        assert!(forward.bind.is_empty());
    }
}

#[test]
fn socks_is_off_unless_asked_for() {
    let listens = |text: &str| {
        let spec = spec(text);
        let socks = |forward: &&ForwardSpec| forward.protocol == ForwardProtocol::Socks;
        let found = spec.forwards.iter().find(socks);
        found.map(|forward| (forward.name.clone(), forward.host_port))
    };
    assert_eq!(listens("[cluster.a]"), None);
    assert_eq!(listens("[cluster.a.ports]\nsocks = false"), None);
    for (said, name, port) in [
        ("index = 3\nports = { socks = true }", "socks", 1083),
        ("index = 3\nports = { socks = 9999 }", "socks", 9999),
        (
            "forward = [{ host = 1080, protocol = \"socks\" }]",
            "socks-1080",
            1080,
        ),
    ] {
        let found = listens(&format!("[cluster.a]\n{said}"));
        assert_eq!(found, Some((name.to_owned(), port)), "{said}");
    }
}

#[test]
fn what_may_surprise_is_warned_of() {
    let config = config(
        "[cluster.a]\ncni = \"none\"\nwait = \"node\"\nports = { api = false, http = 80 }\n\
         [[cluster.a.forward]]\nhost = 5432\nbind = [\"0.0.0.0\"]",
    )
    .unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r"
cluster a: the host port 80 of `http` is below 1024: only root may listen there unless the system says otherwise
cluster a: `port-5432` listens on 0.0.0.0: everyone who reaches that address reaches the guest
cluster a: without a port for `api` there is no kubeconfig for this host
cluster a: `up` waits for the rung node, which a cluster without CNI reaches only when you install one meanwhile
");
}

#[test]
fn ports_collide_only_where_their_addresses_do() {
    let two = |first: &str, second: &str| {
        config(&format!(
            "[cluster.a]\n[[cluster.a.forward]]\nhost = 5432\nbind = [\"{first}\"]\n\
             [cluster.b]\nindex = 1\n[[cluster.b.forward]]\nhost = 5432\nbind = [\"{second}\"]\n"
        ))
        .is_err()
    };
    assert!(!two("127.0.0.2", "127.0.0.3"));
    assert!(!two("0.0.0.0", "::1"));
    assert!(two("127.0.0.2", "0.0.0.0"));
    assert!(two("::", "127.0.0.1"));
}

#[test]
fn clusters_of_different_files_are_compared() {
    let ours = spec("[cluster.a]");
    let same = spec("[cluster.a]\nmtu = 1400");
    assert_eq!(check_against(&ours, &[same]), Ok(()));
    assert_eq!(
        check_against(&ours, &[spec("[cluster.b]\nindex = 1")]),
        Ok(())
    );
    let taken = [
        spec("[cluster.b]\nindex = 1"),
        spec("[cluster.c]\nindex = 0"),
    ];
    let error = CommandError::from(check_against(&ours, &taken).unwrap_err());
    assert_eq!(error.kind, Kind::Conflict);
    assert_eq!(
        error.to_string(),
        "the clusters a and c have the same index 0"
    );
    assert_eq!(error.hints, ["give a an index that is free: 2"]);
}

#[test]
fn the_guest_is_asked_for_the_specification() {
    let spec = spec(
        "[cluster.a]\nindex = 3\ngateway = \"192.100.0.1\"\nmtu = 1400\nnameservers = [\"1.1.1.1\"]\nencrypt = \"always\"\n\
         [cluster.a.k3s]\ndisable = [\"traefik\"]\ntls-san = [\"a.test\"]",
    );
    assert_eq!(spec.encrypt, Encrypt::Always);
    insta::assert_debug_snapshot!(spec.to_network(), @r#"
ApplyNetwork {
    hostname: Some(
        "a",
    ),
    interfaces: [
        InterfaceConfig {
            id: "eth0",
            match_mac: Some(
                "52:54:00:c8:32:0d",
            ),
            match_name: None,
            match_driver: None,
            set_name: Some(
                "eth0",
            ),
            dhcp4: false,
            dhcp6: false,
            dhcp_use_routes: false,
            dhcp_use_dns: false,
            addresses: [
                "192.100.0.13/24",
            ],
            routes: [
                RouteConfig {
                    to: "default",
                    via: Some(
                        "192.100.0.1",
                    ),
                    metric: None,
                },
            ],
            nameservers: [
                "1.1.1.1",
            ],
            search: [],
            mtu: Some(
                1400,
            ),
        },
    ],
}
"#);
    let k3s = spec.to_k3s();
    assert_eq!(k3s.role, K3sRole::Server);
    assert_eq!(
        (k3s.node_name.as_str(), k3s.node_ip.as_str()),
        ("a", "192.100.0.13")
    );
    assert_eq!(k3s.flannel_interface.as_deref(), Some("eth0"));
    assert_eq!(
        (k3s.disable, k3s.tls_san),
        (vec!["traefik".to_owned()], vec!["a.test".to_owned()])
    );
    let without = ClusterSpec {
        cni: Cni::None,
        gateway: None,
        ..spec
    };
    assert_eq!(without.to_k3s().flannel_interface, None);
    assert_eq!(without.to_network().interfaces[0].routes, []);
}
