//! Another codec reads and writes the same bytes: a way out that is proven, and a check that the
//! vectors hold the documented format and not a habit of one library.
//!
//! The types here are written down again, not derived from the ones of the crate, so a field that
//! moves or changes its width is noticed too.

use lkc_protocol::{
    codec::{self, ENVELOPE_LENGTH},
    message::Body,
};
use wincode::{
    SchemaRead, SchemaWrite,
    config::{Configuration, deserialize_exact, serialize},
};

use crate::{
    samples::{self, Take},
    vector,
};

macro_rules! mirrors {
    (
        messages { $($message:ident { $($field:ident: $type:ty),* })* }
        parts { $($part:ident { $($part_field:ident: $part_type:ty),* })* }
        enums { $($enum:ident { $($variant:ident = $number:literal),* })* }
    ) => {
        $(
            #[derive(Debug, SchemaRead, SchemaWrite)]
            struct $message { $($field: $type),* }
        )*
        $(
            #[derive(Debug, SchemaRead, SchemaWrite)]
            struct $part { $($part_field: $part_type),* }
        )*
        $(
            #[derive(Debug, SchemaRead, SchemaWrite)]
            #[wincode(tag_encoding = "u8")]
            enum $enum { $(#[wincode(tag = $number)] $variant),* }
        )*

        /// Reads a body with the other codec; how it looks, and what that codec writes for it.
        fn through_the_other_codec(name: &str, body: &[u8]) -> (String, Vec<u8>) {
            let format = Configuration::default()
                .with_varint_encoding()
                .with_tag_encoding::<u32>();
            match name {
                $(stringify!($message) => {
                    let value: $message = deserialize_exact(body, format)
                        .unwrap_or_else(|error| panic!("{name}: {error}"));
                    (format!("{value:?}"), serialize(&value, format).unwrap())
                })*
                _ => panic!("{name} has no mirror"),
            }
        }
    };
}

mirrors! {
    messages {
        Info {}
        InfoAnswer {
            hostname: String, os: String, kernel: String, clock_unix_ms: u64, uptime_ms: u64,
            interfaces: Vec<InterfaceInfo>
        }
        Watch {}
        WatchAnswer {}
        ApplyNetwork { hostname: Option<String>, interfaces: Vec<InterfaceConfig> }
        NetworkApplied { changed: bool, summary: String }
        ConfigureK3s {
            role: K3sRole, node_name: String, node_ip: String, flannel_interface: Option<String>,
            cni: Cni, tls_san: Vec<String>, disable: Vec<String>, settings: Vec<String>,
            server_url: Option<String>, token: Option<String>
        }
        K3sConfigured { changed: bool, started: bool }
        Kubeconfig {}
        KubeconfigAnswer {}
        Dial { network: DialNetwork, host: String, port: u16 }
        Dialled { address: String }
        Logs { source: LogSource, tail: u32, follow: bool }
        LogsAnswer {}
        Shutdown { grace_ms: u32 }
        ShutdownAnswer {}
        WatchObject {
            resource: String, namespace: Option<String>, name: Option<String>,
            selector: Option<String>, condition: Option<String>
        }
        WatchObjectAnswer {}
        Listen { id: u32, address: String, port: u16 }
        Listening { address: String }
        Arrive { listen: u32 }
        Arrived {}
        HandOver { target: Dial }
        HandedOver { number: u64, address: String }
        Enrol { key: [u8; 32], name: String }
        Enrolled { proof: [u8; 32] }
        Exec {
            arguments: Vec<String>, environment: Vec<String>, directory: Option<String>,
            terminal: Option<TerminalSize>
        }
        Executing {}
        TryNetwork {
            id: [u8; 16], deadline_ms: u32, probe: bool, plan_only: bool, network: ApplyNetwork
        }
        NetworkTried {
            pending: bool, left_ms: u32, summary: String, steps: Vec<String>, probes: Vec<String>
        }
        ConfirmNetwork { id: [u8; 16], proof: Vec<u8> }
        NetworkConfirmed {}
        RollBackNetwork { id: [u8; 16] }
        NetworkRolledBack {}
        NetworkStatus {}
        NetworkStatusAnswer {
            means: NetworkMeans, phase: NetworkPhase, id: Option<[u8; 16]>, left_ms: u32,
            detail: String, probes: Vec<String>, confirmed: Option<ApplyNetwork>
        }
        SetTime { clock_unix_ms: u64, bound_ms: u32 }
        TimeSet { before_unix_ms: u64, changed: bool }
        Usage {}
        UsageAnswer {
            memory_kib: u64, memory_available_kib: u64, processors: u32, load_percent: Vec<u32>,
            disks: Vec<DiskUsage>
        }
        FollowLog { source: LogSource, tail: u32, after: Option<String> }
        FollowingLog { after: Option<String>, complete: bool }
        Snapshot { sequence: u64, rungs: Vec<RungStatus>, k3s: K3sSummary }
        Change { sequence: u64, rungs: Vec<RungStatus>, k3s: Option<K3sSummary> }
        KubeconfigValues {
            api_port: u16, certificate_authority: String, client_certificate: Option<String>,
            client_key: Option<String>, token: Option<String>, username: Option<String>,
            password: Option<String>
        }
        LogLine { text: String }
        ObjectStatus { satisfied: bool, detail: String }
        LogEntry { place: String, text: String }
    }
    parts {
        InterfaceInfo { name: String, mac: String, up: bool, mtu: u32, addresses: Vec<String> }
        InterfaceConfig {
            id: String, match_mac: Option<String>, match_name: Option<String>,
            match_driver: Option<String>, set_name: Option<String>, dhcp4: bool, dhcp6: bool,
            dhcp_use_routes: bool, dhcp_use_dns: bool, addresses: Vec<String>,
            routes: Vec<RouteConfig>, nameservers: Vec<String>, search: Vec<String>,
            mtu: Option<u32>
        }
        TerminalSize { columns: u16, rows: u16 }
        DiskUsage { path: String, size_kib: u64, available_kib: u64 }
        RouteConfig { to: String, via: Option<String>, metric: Option<u32> }
        RungStatus { rung: Rung, state: RungState, detail: String, tail: Vec<String> }
        K3sSummary { version: String, simulated: bool, restarts: u32 }
    }
    enums {
        Rung {
            Agent = 1, Network = 2, K3s = 3, Api = 4, Registered = 5, Node = 6, System = 7
        }
        RungState { Pending = 1, Progressing = 2, Ready = 3, Failed = 4, Unknown = 5 }
        K3sRole { Server = 1, Agent = 2 }
        Cni { Default = 1, None = 2 }
        DialNetwork { Tcp = 1, Udp = 2 }
        LogSource { Agent = 1, K3s = 2 }
        NetworkMeans { Netlink = 1, Networkd = 2 }
        NetworkPhase {
            Idle = 1, Applying = 2, Pending = 3, Committed = 4, RollingBack = 5, RolledBack = 6,
            HalfRolledBack = 7
        }
    }
}

#[test]
fn another_codec_reads_and_writes_the_committed_bodies() {
    struct Compare;
    impl Take for Compare {
        fn take<M: Body + PartialEq + 'static>(&mut self, name: &str, _: &str, message: M) {
            let bytes = vector::read(&format!("message-{name}"));
            let body = &bytes[ENVELOPE_LENGTH..];
            let (looks, written) = through_the_other_codec(M::NAME, body);
            assert_eq!(written, body, "{name}");
            if M::NAME == "KubeconfigValues" {
                // Its own form hides its secrets.
                let decoded: M = codec::decode(&bytes).unwrap();
                assert_eq!(decoded, message);
            } else {
                assert_eq!(looks, format!("{message:?}"), "{name}");
            }
        }
    }
    samples::each(&mut Compare);
}
