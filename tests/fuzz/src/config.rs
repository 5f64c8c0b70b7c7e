//! `lkc.toml`: whatever it says, there is a report or there are clusters that the guest accepts too.

use std::{fmt::Write, path::Path};

use arbitrary::{Arbitrary, Unstructured};
use lkc_guest::{k3s::dropin::Dropin, network::config::NetworkConfig};
use lkc_host::config::{
    self, ClusterSpec, Config, ConfigError, ForwardProtocol, LARGEST_INDEX, Look, Overrides,
};

use super::text::assert_harmless;

/// A text.
pub fn check_text(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        check(text);
    }
}

/// Known keys with values that may fit.
pub fn check_tables(input: &[u8]) {
    if let Ok(file) = File::arbitrary_take_rest(Unstructured::new(input)) {
        check(&file.to_toml());
    }
}

fn check(text: &str) {
    match config::parse(text, Path::new("/p/lkc.toml"), Path::new("/home/u")) {
        Ok(config) => check_sound(&config),
        Err(error) => check_report(text, &error),
    }
}

fn check_report(text: &str, error: &ConfigError) {
    for (width, unicode) in [(40, false), (80, true)] {
        let report = error.report(Look {
            colour: false,
            unicode,
            width,
        });
        assert_harmless(&report);
        assert!(
            report.len() < 20_000 + 20 * text.len(),
            "{} bytes",
            report.len()
        );
    }
    let _ = error.report(Look {
        colour: true,
        ..Look::default()
    });
    if let Some((_, line, column)) = error.location() {
        let lines = text.split('\n').count();
        assert!(1 <= line && line <= lines, "line {line} of {lines}");
        assert!(column >= 1);
    }
    assert_harmless(&error.to_string());
}

fn check_sound(config: &Config) {
    assert!(config.cluster(None).is_ok(), "the default is a cluster");
    for (at, (spec, up)) in config.clusters.iter().enumerate() {
        assert!(spec.index <= LARGEST_INDEX);
        assert!(!up.timeout.is_zero());
        assert_eq!(up.goal.to_string().parse().as_ref(), Ok(&up.goal));
        let json = serde_json::to_string(spec).expect("a specification is kept as JSON");
        let kept: ClusterSpec = serde_json::from_str(&json).expect("what was kept is read");
        assert_eq!(&kept, spec);
        let network = NetworkConfig::parse(&spec.to_network());
        assert!(network.is_ok(), "the guest refuses {spec:?}: {network:?}");
        let dropin = Dropin::new(&spec.to_k3s());
        assert!(dropin.is_ok(), "the guest refuses {spec:?}: {dropin:?}");
        let earlier: Vec<_> = config.clusters[..at]
            .iter()
            .map(|(spec, _)| spec.clone())
            .collect();
        assert_eq!(config::check_against(spec, &earlier), Ok(()));
        for forward in &spec.forwards {
            // A unix socket in place of a port, and no target of SOCKS, whose clients name theirs.
            let (on_socket, to_any) = (
                forward.socket.is_some(),
                forward.protocol == ForwardProtocol::Socks,
            );
            assert!(!forward.name.is_empty(), "{forward:?}");
            assert_eq!(forward.bind.is_empty(), on_socket, "{forward:?}");
            assert_eq!(forward.host_port == 0, on_socket, "{forward:?}");
            assert_eq!(forward.guest_port == 0, to_any, "{forward:?}");
        }
    }
    for warning in &config.warnings {
        assert_harmless(&warning.to_string());
    }
    let again = config.with_overrides(None, &Overrides::default());
    let again = again.expect("nothing is put over it");
    assert_eq!(again.clusters, config.clusters);
}

#[derive(Debug, Arbitrary)]
struct File {
    default: Option<u8>,
    clusters: Vec<Cluster>,
}

#[derive(Debug, Arbitrary)]
struct Cluster {
    name: u8,
    keys: Vec<(u8, Value)>,
    ports: Vec<(u8, Value)>,
    k3s: Vec<(u8, Value)>,
    settings: Vec<(u8, Value)>,
    forwards: Vec<Vec<(u8, Value)>>,
}

#[derive(Debug, Arbitrary)]
enum Value {
    Word(u8),
    Text(String),
    Number(i64),
    Port(u8),
    Boolean(bool),
    List(Vec<Self>),
}

const NAMES: &[&str] = &["k3s-dev", "k3s-capi", "a", "b-1", "k3s-dev-2", "No", "x--y"];
const KEYS: &[&str] = &[
    "index",
    "driver",
    "address",
    "gateway",
    "mac",
    "interface",
    "mtu",
    "nameservers",
    "cni",
    "encrypt",
    "wait",
    "timeout",
];
const PORTS: &[&str] = &["api", "http", "https", "ssh"];
const K3S_KEYS: &[&str] = &["binary", "disable", "tls-san"];
const SETTINGS: &[&str] = &[
    "kubelet-arg",
    "write-kubeconfig-mode",
    "node-name",
    "node-ip",
    "disable",
    "tls-san",
    "token",
    "flannel-iface",
    "server",
    "cluster-cidr",
    "data-dir",
    "debug",
];
const FORWARD_KEYS: &[&str] = &["name", "host", "guest", "bind"];
const WORDS: &[&str] = &[
    "sandbox",
    "192.100.0.10/24",
    "10.0.0.2/8",
    "fd00::10/64",
    "192.100.0.1",
    "fd00::1",
    "52:54:00:c8:32:0a",
    "02:00:00:00:00:01",
    "eth0",
    "ens3",
    "default",
    "none",
    "auto",
    "always",
    "node",
    "api",
    "deployment/kube-system/coredns",
    "pods/ns?a=b",
    "crd/x=Established",
    "5m",
    "90s",
    "traefik",
    "k3s-dev.test",
    "127.0.0.1:5432",
    "[::1]:5432",
    "5432",
    "127.0.0.1",
    "::1",
    "0.0.0.0",
    "::",
    "postgres",
    "http",
    "~/k3s",
    "../k3s",
    "max-pods=50",
    "10.42.0.0/16",
    "127.0.0.2/8",
    "169.254.1.1/16",
    "255.255.255.255/32",
    "0.0.0.0/0",
    "::1/128",
    "fe80::1/64",
    "192.100.0.255/24",
    "192.100.0.0/24",
];

impl File {
    fn to_toml(&self) -> String {
        let mut text = String::new();
        if let Some(name) = self.default {
            let _ = writeln!(text, "default = \"{}\"", word(NAMES, name));
        }
        for cluster in &self.clusters {
            cluster.write(&mut text);
        }
        text
    }
}

impl Cluster {
    fn write(&self, text: &mut String) {
        let name = word(NAMES, self.name);
        let tables = [
            ("", KEYS, &self.keys),
            (".ports", PORTS, &self.ports),
            (".k3s", K3S_KEYS, &self.k3s),
            (".k3s.settings", SETTINGS, &self.settings),
        ];
        for (table, keys, values) in tables {
            if table.is_empty() || !values.is_empty() {
                let _ = writeln!(text, "[cluster.{name}{table}]");
                write_values(keys, values, text);
            }
        }
        for forward in &self.forwards {
            let _ = writeln!(text, "[[cluster.{name}.forward]]");
            write_values(FORWARD_KEYS, forward, text);
        }
    }
}

/// The first value of each key: a second one is an error of syntax.
fn write_values(keys: &[&str], values: &[(u8, Value)], text: &mut String) {
    let mut written: Vec<&str> = Vec::new();
    for (key, value) in values {
        let key = word(keys, *key);
        if !written.contains(&key) {
            written.push(key);
            let _ = writeln!(text, "{key} = {}", value.to_toml());
        }
    }
}

impl Value {
    fn to_toml(&self) -> String {
        match self {
            Self::Word(at) => quoted(word(WORDS, *at)),
            Self::Text(text) => quoted(text),
            Self::Number(number) => number.to_string(),
            Self::Port(port) => (6400 + u16::from(*port)).to_string(),
            Self::Boolean(value) => value.to_string(),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_toml).collect();
                format!("[{}]", values.join(", "))
            }
        }
    }
}

fn word<'w>(words: &[&'w str], at: u8) -> &'w str {
    words[usize::from(at) % words.len()]
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}
