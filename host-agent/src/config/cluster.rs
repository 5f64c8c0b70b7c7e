//! A cluster, fully decided: what the daemon needs to bring it up, with no default left open.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use lkc_protocol::{identity::PublicKey, message::Cni};
use serde::{Deserialize, Serialize};

use super::reverse::ReverseSpec;
use crate::carrier::Route;

/// A cluster as the configuration, the flags and the defaults make it. The daemon keeps it as JSON
/// in the cluster's state directory, so that it can continue without the file it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// What the user calls it.
    pub name: ClusterName,
    /// Fixes the default ports and addresses; 0 to 89.
    pub index: u8,
    /// What its node runs on.
    pub driver: Driver,
    /// How a machine that is there already is reached; none of other drivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<Reach>,
    /// What a virtual machine is made of; none of other drivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<VmSpec>,
    /// Address of the node.
    pub address: IpAddr,
    /// Prefix length of the address.
    pub prefix: u8,
    /// Default gateway; none in a network without a way out.
    pub gateway: Option<IpAddr>,
    /// Hardware address of the node's interface.
    pub mac: MacAddress,
    /// Name that the interface gets in the guest.
    pub interface: String,
    /// MTU in bytes, none to leave it.
    pub mtu: Option<u32>,
    /// DNS servers.
    pub nameservers: Vec<IpAddr>,
    /// Who provides the pod network.
    pub cni: Cni,
    /// How k3s is run.
    pub k3s: K3sSpec,
    /// Host listeners and where they lead.
    pub forwards: Vec<ForwardSpec>,
    /// Guest listeners and where they lead on this host.
    #[serde(default)]
    pub reverse: Vec<ReverseSpec>,
    /// Whether a local link stays encrypted after it is authenticated.
    pub encrypt: Encrypt,
}

/// How a machine that is there already is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The first whose other end authenticates is used.
    pub carriers: Vec<Route>,
    /// The key that its agent has; none when it was enrolled before.
    pub guest_key: Option<PublicKey>,
}

/// What a virtual machine is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// A disk image that contains the agent, or what `nix build` makes one of.
    pub image: VmImage,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Least size of the disk in MiB; none for the image's own.
    pub disk_mib: Option<u32>,
    /// Firmware to boot with; none for the usual one.
    pub firmware: Option<PathBuf>,
}

/// Where a disk image comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VmImage {
    /// A file, or a directory with exactly one image in it.
    Path(PathBuf),
    /// An output of a flake, as `nix build` takes it: `.#k3s-image`. Paths in it are resolved.
    Flake(String),
}

impl fmt::Display for VmImage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Flake(output) => formatter.write_str(output),
        }
    }
}

/// How k3s is run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct K3sSpec {
    /// The program; none to take the one from `PATH` as root, else the simulator.
    pub binary: Option<PathBuf>,
    /// Packaged components to leave out.
    pub disable: Vec<String>,
    /// Additional names of the serving certificate.
    pub tls_san: Vec<String>,
    /// Further `key=value` settings of k3s' configuration file.
    pub settings: Vec<String>,
}

/// A host listener and the guest target that it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSpec {
    /// What messages and `status` call it: `api`, `http`, `postgres`.
    pub name: String,
    /// What passes through it.
    #[serde(default)]
    pub protocol: ForwardProtocol,
    /// Unix socket to listen on, in place of a port; its path is absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Addresses to listen on: 127.0.0.1 and ::1 unless the user names others; none with a socket.
    pub bind: Vec<IpAddr>,
    /// Port on the host; 0 with a socket.
    pub host_port: u16,
    /// Address in the guest, `127.0.0.1` by default; empty of SOCKS, whose clients name it.
    pub guest_host: String,
    /// Port in the guest; 0 of SOCKS.
    pub guest_port: u16,
}

impl ForwardSpec {
    /// Name of the forward that leads to the Kubernetes API.
    pub const API: &str = "api";

    /// What stands before the path of a unix socket.
    pub const UNIX: &str = "unix:";

    /// What a forward on a unix socket is called unless it is named: the file's name up to its dot,
    /// where that can name a forward.
    #[must_use]
    pub fn usual_socket_name(path: &Path) -> Option<String> {
        let stem = path.file_stem()?.to_str()?;
        Self::is_name(stem).then(|| stem.to_owned())
    }

    /// Whether a forward can be called so.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.len() <= 40
            && name.bytes().all(legal)
    }

    /// Each place that it listens on, as people write it: `127.0.0.1:6443`, `unix:/run/db.sock`.
    #[must_use]
    pub fn listens_on(&self) -> Vec<String> {
        if let Some(path) = &self.socket {
            return vec![format!("{}{}", Self::UNIX, path.display())];
        }
        let address = |ip: &IpAddr| SocketAddr::new(*ip, self.host_port).to_string();
        self.bind.iter().map(address).collect()
    }

    /// Whether this text means it: its port, with `/udp` or not, or a place that it listens on.
    #[must_use]
    pub fn is_meant_by(&self, text: &str) -> bool {
        let port = self.host_port.to_string();
        let on_port =
            self.socket.is_none() && (text == port || text == format!("{port}/{}", self.protocol));
        on_port || self.listens_on().iter().any(|place| place == text)
    }

    /// Where it leads in the guest: `127.0.0.1:6443`.
    #[must_use]
    pub fn target(&self) -> String {
        let (host, port) = (&self.guest_host, self.guest_port);
        if self.protocol == ForwardProtocol::Socks {
            "node,pods,services".to_owned()
        } else if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

/// What passes through a forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardProtocol {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
    /// Connections to what the client names, by SOCKS5.
    Socks,
}

impl ForwardProtocol {
    /// Every protocol.
    pub const ALL: &[Self] = &[Self::Tcp, Self::Udp, Self::Socks];

    /// The word that people write and read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Socks => "socks",
        }
    }

    /// What a forward on a port of the host is called unless it is named.
    #[must_use]
    pub fn usual_name(self, host_port: u16) -> String {
        match self {
            Self::Tcp => format!("port-{host_port}"),
            Self::Udp => format!("udp-{host_port}"),
            Self::Socks => format!("socks-{host_port}"),
        }
    }
}

impl fmt::Display for ForwardProtocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl ClusterSpec {
    /// Port of the host on which the cluster's API is reached.
    #[must_use]
    pub fn api_port(&self) -> Option<u16> {
        self.forwards
            .iter()
            .find(|forward| forward.name == ForwardSpec::API)
            .map(|forward| forward.host_port)
    }
}

/// What a node runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Linux namespaces of this host.
    Sandbox,
    /// A machine that somebody else made and runs.
    Existing,
    /// A virtual machine by QEMU.
    Qemu,
}

impl Driver {
    /// Every driver.
    pub const ALL: &[Self] = &[Self::Sandbox, Self::Existing, Self::Qemu];

    /// The word that people write and read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Existing => "existing",
            Self::Qemu => "qemu",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Whether a local link stays encrypted after it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encrypt {
    /// Encrypted except where only the kernel stands between the ends.
    #[default]
    Auto,
    /// Encrypted on every carrier.
    Always,
}

impl Encrypt {
    /// Every choice.
    pub const ALL: &[Self] = &[Self::Auto, Self::Always];

    /// The word that people write and read.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }
}

impl fmt::Display for Encrypt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A cluster's name: a DNS label of at most 40 characters, so that it can name hosts, files and
/// contexts as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// The name of the cluster that exists without any configuration.
    pub const DEFAULT: &str = "k3s-dev";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ClusterName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl FromStr for ClusterName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let bytes = text.as_bytes();
        let edges_legal = bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last().is_some_and(|&last| last != b'-');
        if edges_legal && bytes.len() <= 40 && bytes.iter().copied().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err("a cluster name has at most 40 of a-z, 0-9 and -, begins with a letter and does not end with -".to_owned())
        }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// A unicast Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = parts
                .next()
                .filter(|part| part.len() == 2)
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or("a MAC address is six pairs of hexadecimal digits: 52:54:00:c8:32:0a")?;
        }
        if parts.next().is_some() {
            return Err("a MAC address has six pairs of digits, not more".to_owned());
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err("this MAC address is not a unicast one".to_owned());
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}
