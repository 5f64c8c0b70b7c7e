use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn request() -> ConfigureK3s {
    ConfigureK3s {
        role: K3sRole::Server,
        node_name: "k3s-dev".to_owned(),
        node_ip: "192.100.0.10".to_owned(),
        flannel_interface: Some("eth0".to_owned()),
        cni: Cni::Default,
        tls_san: Vec::new(),
        disable: Vec::new(),
        settings: Vec::new(),
        server_url: None,
        token: None,
    }
}

fn rendered(request: &ConfigureK3s) -> String {
    Dropin::new(request).unwrap().render()
}

fn problem(change: impl FnOnce(&mut ConfigureK3s)) -> String {
    let mut request = request();
    change(&mut request);
    Dropin::new(&request)
        .expect_err("must not be accepted")
        .to_string()
}

#[test]
fn a_server() {
    let mut request = request();
    request.tls_san = vec![
        "k3s.example".to_owned(),
        "k3s.example".to_owned(),
        "10.0.0.1".to_owned(),
    ];
    request.disable = vec!["traefik".to_owned()];
    request.settings = [
        "disable=servicelb",
        "write-kubeconfig-mode=0644",
        "debug",
        "kubelet-arg=v=2",
    ]
    .map(str::to_owned)
    .to_vec();
    insta::assert_snapshot!(rendered(&request), @r#"
    # Written by lkc-guest, changes are overwritten. Role: server
    node-name: "k3s-dev"
    node-ip: "192.100.0.10"
    flannel-iface: "eth0"
    advertise-address: "192.100.0.10"
    tls-san:
      - "k3s.example"
      - "10.0.0.1"
    disable:
      - "traefik"
      - "servicelb"
    write-kubeconfig-mode: "0644"
    debug: "true"
    kubelet-arg: "v=2"
    "#);
}

#[test]
fn a_server_without_pod_network() {
    let mut request = request();
    request.cni = Cni::None;
    insta::assert_snapshot!(rendered(&request), @r#"
    # Written by lkc-guest, changes are overwritten. Role: server
    node-name: "k3s-dev"
    node-ip: "192.100.0.10"
    advertise-address: "192.100.0.10"
    flannel-backend: "none"
    disable-network-policy: "true"
    "#);
}

#[test]
fn an_agent() {
    let mut request = request();
    request.role = K3sRole::Agent;
    request.server_url = Some("https://192.100.0.10:6443".to_owned());
    request.token = Some("K10abc::server:secret".to_owned());
    request.tls_san = vec!["servers.only".to_owned()];
    insta::assert_snapshot!(rendered(&request), @r#"
    # Written by lkc-guest, changes are overwritten. Role: agent
    node-name: "k3s-dev"
    node-ip: "192.100.0.10"
    flannel-iface: "eth0"
    server: "https://192.100.0.10:6443"
    token: "K10abc::server:secret"
    "#);
    assert!(!format!("{:?}", Dropin::new(&request).unwrap()).contains("secret"));
}

#[test]
fn what_is_not_accepted() {
    for name in [
        "",
        "K3s",
        "a_b",
        "-a",
        "a-",
        "a..b",
        "a\nserver: x",
        &"a".repeat(64),
    ] {
        assert!(problem(|request| request.node_name = name.to_owned()).contains("is no node name"));
    }
    assert_eq!(
        problem(|request| request.node_ip = "192.100.0.10/24".to_owned()),
        "\"192.100.0.10/24\" is no IP address for the node"
    );
    assert_eq!(
        problem(|request| request.flannel_interface = Some("eth0: x".to_owned())),
        "\"eth0: x\" is no name of a network interface"
    );
    for setting in [
        "",
        "=x",
        "a b=c",
        "a:\nserver=x",
        "--debug",
        "Debug=true",
        "\"a\"=b",
    ] {
        assert!(
            problem(|request| request.settings = vec![setting.to_owned()])
                .contains("is not key=value"),
            "{setting}"
        );
    }
    for setting in [
        "node-label=",
        "node-label=a\nb: c",
        "node-label=a\u{85}b",
        &format!("a={}", "x".repeat(5000)),
    ] {
        assert!(
            problem(|request| request.settings = vec![setting.to_owned()])
                .contains("is empty, too long or has control"),
            "{setting}"
        );
    }
    assert_eq!(
        problem(|request| request.settings = vec!["node-ip=1.2.3.4".to_owned()]),
        "setting node-ip is already given by the node's configuration"
    );
    assert_eq!(
        problem(|request| request.settings = vec!["a=b".to_owned(); 257]),
        "more than 256 settings"
    );
    assert_eq!(
        problem(|request| request.role = K3sRole::Agent),
        "a node of role agent needs the server's URL"
    );
    assert_eq!(
        problem(|request| request.token = Some("x".to_owned())),
        "a node of role server joins no other: leave the server's URL and the token out"
    );
}

#[test]
fn it_is_written_once_and_only_for_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let paths = K3sPaths::below(directory.path());
    assert_eq!(written(&paths), None);
    let nothing = fingerprint(&paths);
    let dropin = Dropin::new(&request()).unwrap();
    assert!(dropin.write(&paths).unwrap());
    assert!(!dropin.write(&paths).unwrap());
    let found = Written {
        role: K3sRole::Server,
        node_name: "k3s-dev".to_owned(),
        node_ip: "192.100.0.10".parse().unwrap(),
    };
    assert_eq!(written(&paths), Some(found));
    let first = fingerprint(&paths);
    assert_ne!(first, nothing);
    let mode = std::fs::metadata(paths.dropin_path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut other = request();
    other.node_ip = "192.100.0.11".to_owned();
    assert!(Dropin::new(&other).unwrap().write(&paths).unwrap());
    assert_ne!(fingerprint(&paths), first);
    let left: Vec<_> = std::fs::read_dir(paths.dropin_path().parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "no temporary file stays");
}

#[test]
fn an_address_that_etcd_knows_does_not_change() {
    let directory = tempfile::tempdir().unwrap();
    let paths = K3sPaths::below(directory.path());
    let etcd_dir = paths.data_dir.join("server/db/etcd");
    std::fs::create_dir_all(&etcd_dir).unwrap();
    assert!(Dropin::new(&request()).unwrap().write(&paths).unwrap());
    let mut moved = request();
    moved.node_ip = "192.100.0.11".to_owned();
    let error = Dropin::new(&moved)
        .unwrap()
        .write(&paths)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("the node's address cannot change from 192.100.0.10 to 192.100.0.11: "),
        "{error}"
    );
    std::fs::remove_dir(&etcd_dir).unwrap();
    assert!(Dropin::new(&moved).unwrap().write(&paths).unwrap());
}

#[test]
fn an_unwritable_place_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let paths = K3sPaths::below(directory.path());
    std::fs::write(&paths.etc_dir, "a file where the directory should be").unwrap();
    let error = Dropin::new(&request()).unwrap().write(&paths).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot write {}", paths.dropin_path().display())
    );
}

proptest! {
    /// Whatever a value is, a YAML reader gets it back under its own key, and no other key appears.
    #[test]
    fn values_stay_values(value in prop_oneof![
        "\\PC{1,40}",
        prop::sample::select(vec!["yes", "no", "on", "~", "null", "12:30:45", "0x1f", "014", "1e3", "- a", "a: b", "#x", "&a", "*a", "!x", "|", ">", "'", "\"", "\\", "{a: b}", "\u{2028}", "\u{feff}"]).prop_map(str::to_owned),
    ]) {
        let mut request = request();
        request.settings = vec![format!("node-label={value}")];
        prop_assume!(!value.chars().any(char::is_control));
        let text = rendered(&request);
        let read: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&text).unwrap();
        prop_assert_eq!(read.get("node-label"), Some(&serde_json::Value::String(value)));
        prop_assert_eq!(read.len(), 5);
    }
}
