//! Requests about the guest itself, its logs, and connections into it.

use bincode::{Decode, Encode};

use super::wire_enum::wire_enum;

/// Asks what the guest is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Info {}

/// What the guest is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct InfoAnswer {
    /// Host name as the kernel has it.
    pub hostname: String,
    /// Operating system's `PRETTY_NAME`, empty when unknown.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Wall clock, milliseconds since 1970.
    pub clock_unix_ms: u64,
    /// Milliseconds since boot, suspend included.
    pub uptime_ms: u64,
    /// Network interfaces, loopback left out.
    pub interfaces: Vec<InterfaceInfo>,
}

/// A network interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct InterfaceInfo {
    /// Kernel name.
    pub name: String,
    /// Hardware address, `52:54:00:c8:32:0a`.
    pub mac: String,
    /// Whether it is administratively up.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Addresses with prefix, `192.100.0.10/24`.
    pub addresses: Vec<String>,
}

wire_enum! {
    /// Transport of a connection that the guest opens.
    pub enum DialNetwork {
        /// A TCP connection; the stream carries its bytes.
        Tcp = 1 => "tcp",
        /// A UDP socket connected to the target; the stream carries [datagrams](crate::datagram).
        /// Since [`FORWARDS`](crate::version::FORWARDS).
        Udp = 2 => "udp",
    }
}

/// Asks the guest to connect to a target that its policy allows; the stream becomes the connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Dial {
    /// Transport.
    pub network: DialNetwork,
    /// Address or `localhost`. Names are resolved in the guest, the policy is applied afterwards.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Dialled {
    /// Socket address that was connected to.
    pub address: String,
}

/// Asks the guest to connect as for [`Dial`] and to hand the connected socket over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HandOver {
    /// Where to.
    pub target: Dial,
}

/// The connected socket is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HandedOver {
    /// Number that it was sent under.
    pub number: u64,
    /// Socket address that it is connected to.
    pub address: String,
}

wire_enum! {
    /// Whose log.
    pub enum LogSource {
        /// The guest agent.
        Agent = 1 => "agent",
        /// k3s.
        K3s = 2 => "k3s",
    }
}

/// Asks for log lines; the stream carries [`LogLine`]s.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Logs {
    /// Whose.
    pub source: LogSource,
    /// Lines of the past to begin with.
    pub tail: u32,
    /// Whether to go on with new lines.
    pub follow: bool,
}

/// Lines follow.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogsAnswer {}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogLine {
    /// Text without its line end, at most 8 KiB; longer lines are cut.
    pub text: String,
}

/// Asks for a log's entries, those to come included; the stream carries [`LogEntry`]s.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FollowLog {
    /// Whose.
    pub source: LogSource,
    /// Entries of the past to begin with, where no place is given.
    pub tail: u32,
    /// The place of the last entry that was seen: what follows it is wanted.
    pub after: Option<String>,
}

/// Entries follow.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct FollowingLog {
    /// The place of the entry before the first one, where that is known; empty for a log that has no
    /// places.
    pub after: Option<String>,
    /// Whether that is the entry that was asked for: nothing between is missing.
    pub complete: bool,
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LogEntry {
    /// Where it is, for [`FollowLog::after`]; empty in a log that has no places.
    pub place: String,
    /// Text without its line end, at most 8 KiB; longer ones are cut. Of several lines seldom.
    pub text: String,
}

/// Asks the guest to stop k3s and then itself; the machine ends when the agent was its first process.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Shutdown {
    /// Milliseconds that k3s may take before it is killed.
    pub grace_ms: u32,
}

/// The stop has begun.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ShutdownAnswer {}
