//! A cluster for the tests of what is printed.

use lkc_protocol::message::{Cni, K3sSummary, Rung, RungState};

use crate::{
    config::{ClusterName, Driver, ForwardProtocol},
    control::{
        ClusterStatus, DiskStatus, ForwardState, ForwardStatus, LinkState, LinkStatus,
        MachineStatus, NodeStatus, Phase, ProbeStatus, StepStatus, UsageStatus,
    },
};

/// `k3s-dev`, up and ready to the top.
pub(super) fn up() -> ClusterStatus {
    ClusterStatus {
        name: ClusterName::DEFAULT.parse().unwrap(),
        index: 0,
        phase: Phase::Up,
        cni: Cni::Default,
        machine: MachineStatus {
            driver: Driver::Sandbox,
            running: true,
            pid: Some(4242),
            description: "sandbox (user namespace), pid 4242".into(),
        },
        link: LinkStatus {
            state: LinkState::Up,
            carrier: Some("unix:/run/user/1000/lkc/k3s-dev/agent.sock".into()),
            carriers: Vec::new(),
            detail: String::new(),
            connects: 1,
            denied: 0,
        },
        agent_version: Some("0.1.0".into()),
        node: None,
        k3s: Some(K3sSummary {
            version: "v1.33.1+k3s1".into(),
            simulated: true,
            restarts: 0,
        }),
        steps: vec![
            step("sandbox", None, "started", 214),
            step("agent", Some(Rung::Agent), "lkc-guest 0.1.0, link up", 310),
            step(
                "network",
                Some(Rung::Network),
                "192.100.0.10/24 on eth0",
                340,
            ),
            step(
                "k3s",
                Some(Rung::K3s),
                "running (simulated; no containers)",
                420,
            ),
            step("api", Some(Rung::Api), "/readyz ok", 940),
            step("registered", Some(Rung::Registered), "k3s-dev", 1100),
            step("node", Some(Rung::Node), "k3s-dev Ready", 1410),
            step("system", Some(Rung::System), "3 of 3 available", 2000),
        ],
        forwards: vec![
            forward("api", 6443, 6443),
            forward("http", 8080, 80),
            forward("port-5432", 5432, 5432),
        ],
        reverse: Vec::new(),
        kubeconfig: Some("/home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig".into()),
        kubeconfig_error: None,
    }
}

/// The same while the API comes up.
/// The same with what its node says.
pub(super) fn asked() -> ClusterStatus {
    let node = NodeStatus {
        hostname: "k3s-dev".into(),
        os: "NixOS 26.05 (Yarara)".into(),
        kernel: "6.18.2".into(),
        uptime_ms: 3 * 86_400_000 + 4 * 3_600_000,
        clock_skew_ms: -12,
        clock: None,
        usage: Some(UsageStatus {
            memory_kib: 2_030_512,
            memory_available_kib: 1_515_040,
            processors: 2,
            load_percent: vec![52, 158, 5],
            disks: vec![DiskStatus {
                path: "/".into(),
                size_kib: 20_511_312,
                available_kib: 12_211_112,
            }],
        }),
    };
    ClusterStatus {
        node: Some(node),
        ..up()
    }
}

pub(super) fn starting() -> ClusterStatus {
    let mut cluster = up();
    cluster.phase = Phase::Starting;
    cluster.kubeconfig = None;
    for step in &mut cluster.steps {
        if step.rung >= Some(Rung::Api) {
            (step.state, step.ready_after_ms) = (RungState::Pending, None);
            step.detail = "waits for the rung below".into();
        }
        if step.rung == Some(Rung::Api) {
            step.state = RungState::Progressing;
            step.detail = "/readyz answers 500: etcd failed".into();
        }
    }
    cluster
}

/// The same with k3s in a crash loop.
pub(super) fn failed() -> ClusterStatus {
    let mut cluster = starting();
    cluster.phase = Phase::Failed;
    for step in &mut cluster.steps {
        if step.rung == Some(Rung::K3s) {
            (step.state, step.ready_after_ms) = (RungState::Failed, None);
            step.detail = "exited 3 times in 10 s, last with code 1\u{1b}[2J".into();
            step.tail = vec![
                "level=fatal msg=\"no \u{1b}[31mspace\"".into(),
                "exit status 1".into(),
            ];
        }
        if step.rung > Some(Rung::K3s) {
            step.state = RungState::Unknown;
        }
    }
    cluster
}

/// The same, down.
pub(super) fn down() -> ClusterStatus {
    let mut cluster = up();
    cluster.phase = Phase::Down;
    (cluster.machine.running, cluster.machine.pid) = (false, None);
    (cluster.link.state, cluster.link.carrier) = (LinkState::Down, None);
    (cluster.agent_version, cluster.k3s) = (None, None);
    for step in &mut cluster.steps {
        (step.state, step.ready_after_ms) = (RungState::Pending, None);
        step.detail = String::new();
    }
    cluster.forwards = Vec::new();
    cluster
}

fn step(name: &str, rung: Option<Rung>, detail: &str, after_ms: u64) -> StepStatus {
    StepStatus {
        name: name.into(),
        rung,
        state: RungState::Ready,
        detail: detail.into(),
        tail: Vec::new(),
        ready_after_ms: Some(after_ms),
    }
}

fn forward(name: &str, host: u16, guest: u16) -> ForwardStatus {
    ForwardStatus {
        name: name.into(),
        listen: vec![format!("127.0.0.1:{host}"), format!("[::1]:{host}")],
        target: format!("127.0.0.1:{guest}"),
        protocol: ForwardProtocol::Tcp,
        state: ForwardState::Listening,
        open: 1,
        total: 7,
        refused: 1,
        parked: 0,
        failed: 1,
        dropped: 0,
        sent_bytes: 2048,
        received_bytes: 5 << 20,
        last_error: Some("target: connection refused".into()),
        probe: (name == "api").then(|| ProbeStatus {
            ok: true,
            detail: "this cluster answers on this host".into(),
            latency_ms: Some(3),
            checked_unix_ms: 1_767_225_600_000,
        }),
    }
}
