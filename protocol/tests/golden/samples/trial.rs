//! Changes of the network on trial: each message as small and as full as it gets.

use lkc_protocol::message::{
    ApplyNetwork, ConfirmNetwork, InterfaceConfig, NetworkConfirmed, NetworkMeans, NetworkPhase,
    NetworkRolledBack, NetworkStatus, NetworkStatusAnswer, NetworkTried, RollBackNetwork,
    TryNetwork,
};

use super::{Take, texts};

pub(super) fn each(to: &mut impl Take) {
    let nothing = || ApplyNetwork {
        hostname: None,
        interfaces: Vec::new(),
    };
    to.take(
        "try-network-empty",
        "TryNetwork: nothing at all, planned only",
        TryNetwork {
            id: [0; 16],
            deadline_ms: 0,
            probe: false,
            plan_only: true,
            network: nothing(),
        },
    );
    to.take(
        "try-network-full",
        "TryNetwork: an interface by default, with a probe",
        TryNetwork {
            id: [165; 16],
            deadline_ms: u32::MAX,
            probe: true,
            plan_only: false,
            network: ApplyNetwork {
                hostname: Some("k3s-dev".to_owned()),
                interfaces: vec![InterfaceConfig::default()],
            },
        },
    );
    to.take(
        "network-tried-empty",
        "NetworkTried: nothing was to do",
        NetworkTried {
            pending: false,
            left_ms: 0,
            summary: String::new(),
            steps: Vec::new(),
            probes: Vec::new(),
        },
    );
    to.take(
        "network-tried-full",
        "NetworkTried: waits for half a minute",
        NetworkTried {
            pending: true,
            left_ms: 30_000,
            summary: "192.100.0.10/24 on eth0".to_owned(),
            steps: texts(&["bring eth0 up", "add 192.100.0.10/24 to eth0"]),
            probes: texts(&["192.100.0.10:5001", "[fd00::10]:5001"]),
        },
    );
    to.take(
        "confirm-network-unproven",
        "ConfirmNetwork: no proof",
        ConfirmNetwork {
            id: [0; 16],
            proof: Vec::new(),
        },
    );
    to.take(
        "confirm-network-proven",
        "ConfirmNetwork: 90 in each byte of the proof",
        ConfirmNetwork {
            id: [165; 16],
            proof: vec![90; 16],
        },
    );
    to.take("network-confirmed", "NetworkConfirmed", NetworkConfirmed {});
    to.take(
        "roll-back-network",
        "RollBackNetwork: 165 in each byte of the id",
        RollBackNetwork { id: [165; 16] },
    );
    to.take(
        "network-rolled-back",
        "NetworkRolledBack",
        NetworkRolledBack {},
    );
    to.take("network-status", "NetworkStatus", NetworkStatus {});
    to.take(
        "network-status-answer-empty",
        "NetworkStatusAnswer: no change since the boot, over netlink",
        NetworkStatusAnswer {
            means: NetworkMeans::Netlink,
            phase: NetworkPhase::Idle,
            id: None,
            left_ms: 0,
            detail: String::new(),
            probes: Vec::new(),
            confirmed: None,
        },
    );
    to.take(
        "network-status-answer-full",
        "NetworkStatusAnswer: pending, by systemd-networkd",
        NetworkStatusAnswer {
            means: NetworkMeans::Networkd,
            phase: NetworkPhase::Pending,
            id: Some([165; 16]),
            left_ms: 29_999,
            detail: "192.100.0.10/24 on eth0".to_owned(),
            probes: texts(&["192.100.0.10:5001"]),
            confirmed: Some(nothing()),
        },
    );
}
