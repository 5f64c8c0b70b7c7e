//! Network configuration for the guest, in the vocabulary of network-config v2.

use bincode::{Decode, Encode};

use super::wire_enum::wire_enum;

/// Asks the guest to bring its interfaces to this state; what already is so is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ApplyNetwork {
    /// Host name to set, none to leave it.
    pub hostname: Option<String>,
    /// Interfaces to configure; others are not touched.
    pub interfaces: Vec<InterfaceConfig>,
}

/// One interface. Exactly one of the `match_*` fields or the id itself names it, MAC first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct InterfaceConfig {
    /// Key in the configuration; the interface's name when nothing else matches it.
    pub id: String,
    /// Match by hardware address (`match.macaddress`).
    pub match_mac: Option<String>,
    /// Match by kernel name, a glob (`match.name`).
    pub match_name: Option<String>,
    /// Match by kernel driver, a glob (`match.driver`).
    pub match_driver: Option<String>,
    /// New name (`set-name`).
    pub set_name: Option<String>,
    /// Whether DHCP for IPv4 is wanted.
    pub dhcp4: bool,
    /// Whether DHCP for IPv6 is wanted.
    pub dhcp6: bool,
    /// Whether the routes that DHCP offers are installed (`dhcp4-overrides.use-routes`).
    pub dhcp_use_routes: bool,
    /// Whether the DNS servers that DHCP offers are used (`dhcp4-overrides.use-dns`).
    pub dhcp_use_dns: bool,
    /// Addresses with prefix, `192.100.0.10/24`.
    pub addresses: Vec<String>,
    /// Routes through this interface.
    pub routes: Vec<RouteConfig>,
    /// DNS servers.
    pub nameservers: Vec<String>,
    /// DNS search domains.
    pub search: Vec<String>,
    /// MTU in bytes, none to leave it.
    pub mtu: Option<u32>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RouteConfig {
    /// Destination prefix, or `default`.
    pub to: String,
    /// Gateway; none for a route that is on the link.
    pub via: Option<String>,
    /// Metric.
    pub metric: Option<u32>,
}

/// The network is as asked; read back from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkApplied {
    /// Whether anything had to be changed.
    pub changed: bool,
    /// For people: `192.100.0.10/24 on eth0`.
    pub summary: String,
}

/// Asks the guest to try a configuration: what it changes is taken back unless a host confirms it
/// before the deadline. Asking again for the same change tells how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TryNetwork {
    /// The change, random; names it from now on.
    pub id: [u8; 16],
    /// Milliseconds until it is taken back, from the beginning of the change.
    pub deadline_ms: u32,
    /// Whether a confirmation needs the proof that an address of the configuration was reached.
    pub probe: bool,
    /// Whether only the steps are asked for; nothing is changed then.
    pub plan_only: bool,
    /// The configuration.
    pub network: ApplyNetwork,
}

/// How a change stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkTried {
    /// Whether it waits for a confirmation; if not, it was so already and is kept, or only planned.
    pub pending: bool,
    /// Milliseconds until it is taken back.
    pub left_ms: u32,
    /// For people: `192.100.0.10/24 on eth0`.
    pub summary: String,
    /// What was to do, for people.
    pub steps: Vec<String>,
    /// Where the proof is to be had, `192.100.0.10:5001`; each gives it to whoever connects.
    pub probes: Vec<String>,
}

/// Confirms a change, on a link that came up after it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConfirmNetwork {
    /// The change.
    pub id: [u8; 16],
    /// What a connection to an address of the configuration gave; empty where none was asked for.
    pub proof: Vec<u8>,
}

/// The change stays, over reboots too.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkConfirmed {}

/// Takes a change back before its deadline.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct RollBackNetwork {
    /// The change.
    pub id: [u8; 16],
}

/// The network is as it was before the change; read back from the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkRolledBack {}

/// Asks how the network and its last change stand.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkStatus {}

/// How the network and its last change stand.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NetworkStatusAnswer {
    /// Who carries changes out.
    pub means: NetworkMeans,
    /// How far the last change is.
    pub phase: NetworkPhase,
    /// The last change, none when there was none since the boot.
    pub id: Option<[u8; 16]>,
    /// Milliseconds until it is taken back.
    pub left_ms: u32,
    /// For people: what it did, or why it was taken back.
    pub detail: String,
    /// Where the proof is to be had.
    pub probes: Vec<String>,
    /// What was confirmed last and is set up at every boot.
    pub confirmed: Option<ApplyNetwork>,
}

wire_enum! {
    /// Who carries changes of the network out.
    pub enum NetworkMeans {
        /// The agent, over netlink.
        Netlink = 1 => "netlink",
        /// systemd-networkd.
        Networkd = 2 => "networkd",
    }
}

wire_enum! {
    /// How far a change of the network is.
    pub enum NetworkPhase {
        /// There was none since the boot.
        Idle = 1 => "idle",
        /// It is being made.
        Applying = 2 => "applying",
        /// It waits for a confirmation.
        Pending = 3 => "pending",
        /// It was confirmed.
        Committed = 4 => "committed",
        /// It is being taken back.
        RollingBack = 5 => "rolling-back",
        /// It was taken back, and that was verified.
        RolledBack = 6 => "rolled-back",
        /// It was taken back, and the network is not as before.
        HalfRolledBack = 7 => "half-rolled-back",
    }
}
