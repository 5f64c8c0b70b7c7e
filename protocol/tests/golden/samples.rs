//! The values behind the message vectors: each message empty, full, and at its edges.

use lkc_protocol::message::{
    ApplyNetwork, Arrive, Arrived, Change, Cni, ConfigureK3s, Dial, DialNetwork, Dialled, Enrol,
    Enrolled, Exec, Executing, HandOver, HandedOver, Info, InfoAnswer, InterfaceConfig,
    InterfaceInfo, K3sConfigured, K3sRole, K3sSummary, Kubeconfig, KubeconfigAnswer,
    KubeconfigValues, Listen, Listening, LogLine, LogSource, Logs, LogsAnswer, NetworkApplied,
    ObjectStatus, RouteConfig, Rung, RungState, RungStatus, Shutdown, ShutdownAnswer, Snapshot,
    TerminalSize, Watch, WatchAnswer, WatchObject, WatchObjectAnswer,
};

mod condition;
mod log;
mod trial;

/// Takes every sample: a name, what it is, the value. One function over all types, so that each
/// test decides what to do with a value whose type it does not name.
pub(crate) trait Take {
    fn take<M>(&mut self, name: &str, about: &str, message: M)
    where
        M: lkc_protocol::message::Body + PartialEq + 'static;
}

pub(crate) fn each(to: &mut impl Take) {
    info(to);
    readiness(to);
    network(to);
    trial::each(to);
    k3s(to);
    kubeconfig(to);
    streams(to);
    objects(to);
    reverse(to);
    enrolment(to);
    exec(to);
    condition::each(to);
    log::each(to);
}

fn info(to: &mut impl Take) {
    to.take("info", "Info: no fields", Info {});
    to.take(
        "info-answer-empty",
        "InfoAnswer: every text empty, every number zero, no interfaces",
        InfoAnswer {
            hostname: String::new(),
            os: String::new(),
            kernel: String::new(),
            clock_unix_ms: 0,
            uptime_ms: 0,
            interfaces: Vec::new(),
        },
    );
    to.take(
        "info-answer-full",
        "InfoAnswer: two interfaces, one with two addresses and one with none",
        InfoAnswer {
            hostname: "k3s-dev".to_owned(),
            os: "NixOS 26.05 (Yarara)".to_owned(),
            kernel: "6.18.2".to_owned(),
            clock_unix_ms: 1_795_255_822_123,
            uptime_ms: 61_250,
            interfaces: vec![
                InterfaceInfo {
                    name: "eth0".to_owned(),
                    mac: "52:54:00:c8:32:0a".to_owned(),
                    up: true,
                    mtu: 1500,
                    addresses: texts(&["192.100.0.10/24", "fe80::5054:ff:fec8:320a/64"]),
                },
                InterfaceInfo {
                    name: "wg0".to_owned(),
                    mac: String::new(),
                    up: false,
                    mtu: 0,
                    addresses: Vec::new(),
                },
            ],
        },
    );
    to.take(
        "info-answer-largest-numbers",
        "InfoAnswer: every number the largest of its type, text beyond ASCII",
        InfoAnswer {
            hostname: "köln-猫-🦀".to_owned(),
            os: "a\u{0}b".to_owned(),
            kernel: "\u{1b}[31m".to_owned(),
            clock_unix_ms: u64::MAX,
            uptime_ms: u64::MAX,
            interfaces: vec![InterfaceInfo {
                name: "e".to_owned(),
                mac: "m".to_owned(),
                up: true,
                mtu: u32::MAX,
                addresses: texts(&[""]),
            }],
        },
    );
}

fn readiness(to: &mut impl Take) {
    to.take("watch", "Watch: no fields", Watch {});
    to.take("watch-answer", "WatchAnswer: no fields", WatchAnswer {});
    to.take(
        "snapshot-empty",
        "Snapshot: number zero, no rungs, nothing known of k3s",
        Snapshot {
            sequence: 0,
            rungs: Vec::new(),
            k3s: K3sSummary::default(),
        },
    );
    to.take(
        "snapshot-full",
        "Snapshot: every rung, every state, one with a tail",
        Snapshot {
            sequence: 42,
            rungs: ladder(),
            k3s: K3sSummary {
                version: "v1.34.2+k3s1".to_owned(),
                simulated: true,
                restarts: 3,
            },
        },
    );
    let change = |sequence, rungs, k3s| Change {
        sequence,
        rungs,
        k3s,
    };
    to.take(
        "change-empty",
        "Change: no rungs, k3s as before",
        change(0, Vec::new(), None),
    );
    to.take(
        "change-full",
        "Change: two rungs and k3s, the largest numbers",
        change(
            u64::MAX,
            ladder().split_off(5),
            Some(K3sSummary {
                version: String::new(),
                simulated: false,
                restarts: u32::MAX,
            }),
        ),
    );
}

fn network(to: &mut impl Take) {
    to.take(
        "apply-network-empty",
        "ApplyNetwork: no host name, no interfaces",
        ApplyNetwork {
            hostname: None,
            interfaces: Vec::new(),
        },
    );
    to.take(
        "apply-network-interface-by-default",
        "ApplyNetwork: one interface with nothing set",
        ApplyNetwork {
            hostname: Some(String::new()),
            interfaces: vec![InterfaceConfig::default()],
        },
    );
    to.take(
        "apply-network-full",
        "ApplyNetwork: host name, every field of an interface, three routes",
        ApplyNetwork {
            hostname: Some("k3s-dev".to_owned()),
            interfaces: vec![InterfaceConfig {
                id: "lan".to_owned(),
                match_mac: Some("52:54:00:c8:32:0a".to_owned()),
                match_name: Some("en*".to_owned()),
                match_driver: Some("virtio_net".to_owned()),
                set_name: Some("eth0".to_owned()),
                dhcp4: true,
                dhcp6: false,
                dhcp_use_routes: true,
                dhcp_use_dns: false,
                addresses: texts(&["192.100.0.10/24", "fd00::10/64"]),
                routes: vec![
                    route("default", Some("192.100.0.1"), Some(100)),
                    route("10.0.0.0/8", None, None),
                    route("::/0", Some("fd00::1"), Some(u32::MAX)),
                ],
                nameservers: texts(&["1.1.1.1", "2606:4700:4700::1111"]),
                search: texts(&["lan"]),
                mtu: Some(1450),
            }],
        },
    );
    to.take(
        "network-applied-empty",
        "NetworkApplied: nothing changed, nothing said",
        NetworkApplied {
            changed: false,
            summary: String::new(),
        },
    );
    to.take(
        "network-applied-full",
        "NetworkApplied: changed, with a summary",
        NetworkApplied {
            changed: true,
            summary: "192.100.0.10/24 on eth0".to_owned(),
        },
    );
}

fn k3s(to: &mut impl Take) {
    to.take(
        "configure-k3s-empty",
        "ConfigureK3s: a server with nothing set",
        ConfigureK3s {
            role: K3sRole::Server,
            node_name: String::new(),
            node_ip: String::new(),
            flannel_interface: None,
            cni: Cni::Default,
            tls_san: Vec::new(),
            disable: Vec::new(),
            settings: Vec::new(),
            server_url: None,
            token: None,
        },
    );
    to.take(
        "configure-k3s-full",
        "ConfigureK3s: an agent with every field set",
        ConfigureK3s {
            role: K3sRole::Agent,
            node_name: "k3s-dev-2".to_owned(),
            node_ip: "192.100.0.112".to_owned(),
            flannel_interface: Some("eth0".to_owned()),
            cni: Cni::None,
            tls_san: texts(&["127.0.0.1", "k3s-dev"]),
            disable: texts(&["traefik", "servicelb"]),
            settings: texts(&["kubelet-arg=max-pods=250", "write-kubeconfig-mode=0600"]),
            server_url: Some("https://192.100.0.10:6443".to_owned()),
            token: Some("K10sample::server:sample".to_owned()),
        },
    );
    for (name, changed, started) in [
        ("k3s-configured-unchanged", false, false),
        ("k3s-configured-changed", true, false),
        ("k3s-configured-started", true, true),
    ] {
        let about = format!("K3sConfigured: changed {changed}, started {started}");
        to.take(name, &about, K3sConfigured { changed, started });
    }
}

fn kubeconfig(to: &mut impl Take) {
    to.take("kubeconfig", "Kubeconfig: no fields", Kubeconfig {});
    to.take(
        "kubeconfig-answer",
        "KubeconfigAnswer: no fields",
        KubeconfigAnswer {},
    );
    to.take(
        "kubeconfig-values-empty",
        "KubeconfigValues: port zero, no credentials",
        KubeconfigValues {
            api_port: 0,
            certificate_authority: String::new(),
            client_certificate: None,
            client_key: None,
            token: None,
            username: None,
            password: None,
        },
    );
    to.take(
        "kubeconfig-values-full",
        "KubeconfigValues: every field set, the largest port",
        KubeconfigValues {
            api_port: u16::MAX,
            certificate_authority: "-----BEGIN CERTIFICATE-----\nQUE=\n-----END CERTIFICATE-----\n"
                .to_owned(),
            client_certificate: Some("-----BEGIN CERTIFICATE-----\nQkI=\n".to_owned()),
            client_key: Some("a private key stands here".to_owned()),
            token: Some("a token stands here".to_owned()),
            username: Some("admin".to_owned()),
            password: Some(String::new()),
        },
    );
}

fn streams(to: &mut impl Take) {
    let dial = |host: &str, port| Dial {
        network: DialNetwork::Tcp,
        host: host.to_owned(),
        port,
    };
    to.take(
        "dial-empty",
        "Dial: no host, port zero, as a guest refuses it",
        dial("", 0),
    );
    to.take(
        "dial-full",
        "Dial: the API on the guest's loopback",
        dial("localhost", 6443),
    );
    to.take(
        "dial-udp",
        "Dial: the cluster's name server over UDP",
        Dial {
            network: DialNetwork::Udp,
            ..dial("10.43.0.10", 53)
        },
    );
    for (address, name) in [("", "dialled-empty"), ("[::1]:6443", "dialled-full")] {
        let about = format!("Dialled: `{address}`");
        let address = address.to_owned();
        to.take(name, &about, Dialled { address });
    }
    let logs = |source, tail, follow| Logs {
        source,
        tail,
        follow,
    };
    to.take(
        "logs-agent",
        "Logs: the agent's, none of the past, no more",
        logs(LogSource::Agent, 0, false),
    );
    to.take(
        "logs-k3s",
        "Logs: those of k3s, all of the past, and on",
        logs(LogSource::K3s, u32::MAX, true),
    );
    to.take("logs-answer", "LogsAnswer: no fields", LogsAnswer {});
    // A length takes one byte up to 250 and three from 251 on.
    for length in [0, 250, 251, 8192] {
        let text = "0123456789".chars().cycle().take(length).collect();
        let name = format!("log-line-{length}");
        let about = format!("LogLine: {length} bytes of text");
        to.take(&name, &about, LogLine { text });
    }
    for (name, grace_ms) in [
        ("shutdown-at-once", 0),
        ("shutdown-grace-250", 250),
        ("shutdown-grace-251", 251),
        ("shutdown-grace-65536", 65_536),
        ("shutdown-grace-largest", u32::MAX),
    ] {
        let about = format!("Shutdown: a grace of {grace_ms} ms");
        to.take(name, &about, Shutdown { grace_ms });
    }
    to.take(
        "shutdown-answer",
        "ShutdownAnswer: no fields",
        ShutdownAnswer {},
    );
}

fn reverse(to: &mut impl Take) {
    let listen = |id, address: &str, port| Listen {
        id,
        address: address.to_owned(),
        port,
    };
    to.take(
        "listen-empty",
        "Listen: no address, port zero, as a guest refuses it",
        listen(0, "", 0),
    );
    to.take(
        "listen-full",
        "Listen: the first listener, a registry's port on every address",
        listen(1, "0.0.0.0", 5000),
    );
    to.take(
        "listen-largest-numbers",
        "Listen: every number the largest of its type",
        listen(u32::MAX, "::1", u16::MAX),
    );
    for (address, name) in [("", "listening-empty"), ("0.0.0.0:5000", "listening-full")] {
        let about = format!("Listening: `{address}`");
        let address = address.to_owned();
        to.take(name, &about, Listening { address });
    }
    for (listen, name) in [(1, "arrive-first"), (u32::MAX, "arrive-largest")] {
        let about = format!("Arrive: a connection to listener {listen}");
        to.take(name, &about, Arrive { listen });
    }
    to.take("arrived", "Arrived: no fields", Arrived {});
    let dial = |host: &str, port| Dial {
        network: DialNetwork::Tcp,
        host: host.to_owned(),
        port,
    };
    to.take(
        "hand-over-empty",
        "HandOver: no host, port zero, as a guest refuses it",
        HandOver {
            target: dial("", 0),
        },
    );
    to.take(
        "hand-over-full",
        "HandOver: the API on the guest's loopback",
        HandOver {
            target: dial("localhost", 6443),
        },
    );
    for (number, address, name) in [
        (0, "", "handed-over-empty"),
        (u64::MAX, "[::1]:6443", "handed-over-full"),
    ] {
        let about = format!("HandedOver: number {number}, `{address}`");
        let address = address.to_owned();
        to.take(name, &about, HandedOver { number, address });
    }
}

fn enrolment(to: &mut impl Take) {
    for (key, name, file) in [
        ([0; 32], "", "enrol-empty"),
        ([0xa5; 32], "laptop", "enrol-full"),
    ] {
        let about = format!("Enrol: {} in each byte of the key, `{name}`", key[0]);
        let name = name.to_owned();
        to.take(file, &about, Enrol { key, name });
    }
    for (proof, file) in [([0; 32], "enrolled-empty"), ([0xff; 32], "enrolled-full")] {
        let about = format!("Enrolled: {} in each byte of the proof", proof[0]);
        to.take(file, &about, Enrolled { proof });
    }
}

fn exec(to: &mut impl Take) {
    to.take(
        "exec-empty",
        "Exec: the login shell, without a terminal",
        Exec {
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            terminal: None,
        },
    );
    to.take(
        "exec-full",
        "Exec: `uname -a` in /tmp with TERM and an empty variable, on a terminal of 211 times 52",
        Exec {
            arguments: vec!["uname".to_owned(), "-a".to_owned()],
            environment: vec!["TERM=xterm-256color".to_owned(), "EMPTY=".to_owned()],
            directory: Some("/tmp".to_owned()),
            terminal: Some(TerminalSize {
                columns: 211,
                rows: 52,
            }),
        },
    );
    to.take("executing", "Executing: no fields", Executing {});
}

fn objects(to: &mut impl Take) {
    to.take(
        "watch-object-empty",
        "WatchObject: nothing set",
        WatchObject {
            resource: String::new(),
            namespace: None,
            name: None,
            selector: None,
            condition: None,
        },
    );
    to.take(
        "watch-object-full",
        "WatchObject: every field set",
        WatchObject {
            resource: "deployment".to_owned(),
            namespace: Some("kube-system".to_owned()),
            name: Some("coredns".to_owned()),
            selector: Some("k8s-app=kube-dns".to_owned()),
            condition: Some("Available".to_owned()),
        },
    );
    to.take(
        "watch-object-answer",
        "WatchObjectAnswer: no fields",
        WatchObjectAnswer {},
    );
    for (name, satisfied, detail) in [
        ("object-status-empty", false, ""),
        (
            "object-status-full",
            true,
            "deployment kube-system/coredns: 1 of 1 available",
        ),
    ] {
        let about = format!("ObjectStatus: satisfied {satisfied}, `{detail}`");
        let detail = detail.to_owned();
        to.take(name, &about, ObjectStatus { satisfied, detail });
    }
}

fn ladder() -> Vec<RungStatus> {
    let states = [
        RungState::Ready,
        RungState::Ready,
        RungState::Failed,
        RungState::Progressing,
        RungState::Pending,
        RungState::Unknown,
        RungState::Pending,
    ];
    let rungs = Rung::ALL.iter().zip(states);
    rungs
        .map(|(&rung, state)| RungStatus {
            rung,
            state,
            detail: if state == RungState::Pending {
                String::new()
            } else {
                format!("{rung} is {state}")
            },
            tail: if state == RungState::Failed {
                texts(&["level=fatal msg=\"starting\"", ""])
            } else {
                Vec::new()
            },
        })
        .collect()
}

fn route(to: &str, via: Option<&str>, metric: Option<u32>) -> RouteConfig {
    RouteConfig {
        to: to.to_owned(),
        via: via.map(str::to_owned),
        metric,
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
