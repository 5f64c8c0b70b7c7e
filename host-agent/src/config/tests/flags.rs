//! The command line over the file.

use std::path::PathBuf;

use super::{
    super::{ClusterSpec, Look, Overrides},
    config, no_config,
};
use crate::{config::ForwardProtocol, error::Kind};

fn overridden(overrides: &Overrides) -> ClusterSpec {
    let config = no_config().with_overrides(None, overrides).unwrap();
    config.cluster(None).unwrap().0.clone()
}

#[test]
fn flags_win_and_the_rest_follows_from_them() {
    let spec = overridden(&Overrides {
        index: Some(7),
        ..Overrides::default()
    });
    assert_eq!(
        (spec.api_port(), spec.address.to_string()),
        (Some(6450), "192.100.0.17".to_owned())
    );
    let spec = overridden(&Overrides {
        address: Some("192.168.100.5/24".to_owned()),
        cni: Some("none".to_owned()),
        k3s_binary: Some(PathBuf::from("k3s")),
        ports: vec!["api=7443".to_owned(), "ssh=off".to_owned()],
        forwards: vec!["db=0.0.0.0:5432:[fd00::1]:5433".to_owned()],
        ..Overrides::default()
    });
    assert_eq!(spec.mac.to_string(), "52:54:00:c8:32:05");
    assert_eq!(spec.api_port(), Some(7443));
    assert_eq!(spec.k3s.binary, Some(PathBuf::from("/p/k3s")));
    let names: Vec<_> = spec
        .forwards
        .iter()
        .map(|forward| forward.name.as_str())
        .collect();
    assert_eq!(names, ["api", "http", "https", "db"]);
}

#[test]
fn forwards_are_read_from_one_argument() {
    for (argument, name, bind, host, guest_host, guest) in [
        ("5432", "port-5432", "127.0.0.1", 5432, "127.0.0.1", 5432),
        ("5432:80", "port-5432", "127.0.0.1", 5432, "127.0.0.1", 80),
        (
            "5432:10.43.0.1:80",
            "port-5432",
            "127.0.0.1",
            5432,
            "10.43.0.1",
            80,
        ),
        ("a=5432:[::1]:80", "a", "127.0.0.1", 5432, "::1", 80),
        (
            "0.0.0.0:5432:80",
            "port-5432",
            "0.0.0.0",
            5432,
            "127.0.0.1",
            80,
        ),
        ("a=[::1]:5432:db.ns:80", "a", "::1", 5432, "db.ns", 80),
    ] {
        let spec = overridden(&Overrides {
            forwards: vec![argument.to_owned()],
            ..Overrides::default()
        });
        let forward = spec.forwards.last().unwrap();
        assert_eq!(forward.name, name, "{argument}");
        assert_eq!(forward.bind[0].to_string(), bind, "{argument}");
        assert_eq!(
            (forward.host_port, forward.guest_port),
            (host, guest),
            "{argument}"
        );
        assert_eq!(forward.guest_host, guest_host, "{argument}");
    }
}

#[test]
fn a_forward_of_datagrams_is_read_from_one_argument() {
    let spec = overridden(&Overrides {
        forwards: vec!["6443:10.43.0.10:53/udp".to_owned(), "6444/tcp".to_owned()],
        ..Overrides::default()
    });
    let [.., udp, tcp] = &spec.forwards[..] else {
        panic!("{:?}", spec.forwards)
    };
    assert_eq!((udp.protocol, udp.host_port), (ForwardProtocol::Udp, 6443));
    assert_eq!(
        (udp.name.as_str(), udp.target().as_str()),
        ("udp-6443", "10.43.0.10:53")
    );
    assert_eq!((tcp.protocol, tcp.guest_port), (ForwardProtocol::Tcp, 6444));
}

#[test]
fn a_forward_of_the_file_is_replaced_by_one_of_its_name() {
    let config = config("[[cluster.a.forward]]\nname = \"db\"\nhost = 5432").unwrap();
    let overrides = Overrides {
        forwards: vec!["db=5433:5432".to_owned()],
        ..Overrides::default()
    };
    let config = config.with_overrides(None, &overrides).unwrap();
    let ports: Vec<_> = config.clusters[0]
        .0
        .forwards
        .iter()
        .map(|forward| forward.host_port)
        .collect();
    assert_eq!(ports, [6443, 8080, 8443, 2210, 5433]);
}

#[test]
fn without_a_file_any_cluster_can_be_had() {
    let name = "mine".parse().unwrap();
    let config = no_config()
        .with_overrides(Some(&name), &Overrides::default())
        .unwrap();
    assert_eq!(config.cluster(None).unwrap().0.name, name);
}

#[test]
fn a_cluster_that_a_file_lacks_is_not_made_up() {
    let config = config("[cluster.k3s-dev]").unwrap();
    for error in [
        config
            .cluster(Some(&"k3s-dve".parse().unwrap()))
            .unwrap_err(),
        config
            .with_overrides(Some(&"k3s-dve".parse().unwrap()), &Overrides::default())
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.to_string(), "/p/lkc.toml has no cluster k3s-dve");
        assert_eq!(error.help(), Some("did you mean `k3s-dev`?"));
    }
}

#[test]
fn errors_name_the_flag() {
    let set = |change: fn(&mut Overrides)| {
        let mut overrides = Overrides::default();
        change(&mut overrides);
        overrides
    };
    let forward = |text: &str| Overrides {
        forwards: vec![text.to_owned()],
        ..Overrides::default()
    };
    let port = |text: &str| Overrides {
        ports: vec![text.to_owned()],
        ..Overrides::default()
    };
    let cases = [
        set(|said| said.index = Some(90)),
        set(|said| said.address = Some("192.100.0.0/24".to_owned())),
        set(|said| said.gateway = Some("10.0.0.1".to_owned())),
        set(|said| said.mac = Some("x".to_owned())),
        set(|said| said.cni = Some("calico".to_owned())),
        set(|said| said.driver = Some("qemus".to_owned())),
        set(|said| said.driver = Some("qemu".to_owned())),
        set(|said| said.cpus = Some(2)),
        set(|said| said.encrypt = Some("\u{1b}[2J".to_owned())),
        set(|said| said.k3s_settings = vec!["--debug".to_owned()]),
        port("6443"),
        port("api=x"),
        port("api=65536"),
        port("htp=1"),
        forward("0"),
        forward("65536"),
        forward("-1"),
        forward("abc"),
        forward("6443:"),
        forward("6443:1:2:3:4"),
        forward("[::1]:80"),
        forward("-oProxyCommand=x"),
        forward("a/../b=1:1"),
        forward("99999999999999999999"),
        forward("api=7000:1"),
    ];
    let messages: Vec<_> = cases
        .iter()
        .map(|overrides| no_config().with_overrides(None, overrides))
        .map(|result| result.map_or_else(|error| error.to_string(), |_| "accepted".to_owned()))
        .collect();
    insta::assert_snapshot!(messages.join("\n"), @r"
--index: 90 is not an index: they go from 0 to 89
--address: 192.100.0.0/24 is the address of the network, not of a node
--gateway: the gateway 10.0.0.1 is outside of 192.100.0.10/24
--mac: a MAC address is six pairs of hexadecimal digits: 52:54:00:c8:32:0a
--cni: `calico` is not among the choices: default, none
--driver: `qemus` is not among the choices: sandbox, existing, qemu
the driver qemu needs a disk image
--cpus: the driver sandbox has no virtual machine to give this to
--encrypt: `\u{1b}[2J` is not among the choices: auto, always
--k3s-setting: `--debug` is not a setting of k3s: they are its options without `--`
--port: `6443` is not NAME=PORT or NAME=off
--port: `x` is neither a port nor off
--port: 65536 is not a port: they go from 1 to 65535
--port: no port has the name `htp`
--forward: 0 is not a port: they go from 1 to 65535
--forward: 65536 is not a port: they go from 1 to 65535
--forward: `-1` is not a forward
--forward: `abc` is not a forward
--forward: `` is not a target in the guest
--forward: `6443:1:2:3:4` is not a forward
accepted
--forward: `-oProxyCommand=x` is not a forward
--forward: `a/../b` cannot name a forward
--forward: `99999999999999999999` is not a forward
--forward: two forwards have the name `api`
");
}

#[test]
fn a_flag_that_collides_with_the_file_is_shown_beside_it() {
    let config = config("[cluster.a]\nindex = 1\n[cluster.b]\nindex = 2\n").unwrap();
    let overrides = Overrides {
        index: Some(1),
        ..Overrides::default()
    };
    let error = config
        .with_overrides(Some(&"b".parse().unwrap()), &overrides)
        .unwrap_err();
    insta::assert_snapshot!(error.report(Look { unicode: false, ..Look::default() }), @r"
 x --index: the clusters b and a have the same index 1
  ,-[/p/lkc.toml:2:9]
1 | [cluster.a]
2 | index = 1
  :         |
  :         `-- a
3 | [cluster.b]
  `----
 help: give b an index that is free: 0
");
}
