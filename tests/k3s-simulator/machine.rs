//! The machine that the server runs on, and whether the options fit it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};

use crate::certificates::Names;
use crate::files;
use crate::lifecycle::NodeFacts;
use crate::options::Options;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MachineError {
    #[error("unable to use node-ip {address}: it is not an address of this machine")]
    AddressAbsent { address: IpAddr, source: io::Error },
    #[error("unable to find interface {0}")]
    NoInterface(String),
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "this server is a not a member of the etcd cluster. Found [{name}={found}], expect: {name}={expected}"
    )]
    NotAMember {
        name: String,
        found: String,
        expected: String,
    },
}

pub(crate) struct Machine {
    pub(crate) node_name: String,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Finds the node's name and addresses, and checks those that were configured.
pub(crate) fn inspect(options: &Options) -> Result<Machine, MachineError> {
    for &address in &options.node_ips {
        // Binding works only to an address of our own.
        UdpSocket::bind((address, 0))
            .map_err(|source| MachineError::AddressAbsent { address, source })?;
    }
    if let Some(interface) = &options.flannel_interface
        && !Path::new("/sys/class/net").join(interface).exists()
    {
        return Err(MachineError::NoInterface(interface.clone()));
    }
    let addresses = if options.node_ips.is_empty() {
        vec![default_address()]
    } else {
        options.node_ips.clone()
    };
    let node_name = options
        .node_name
        .clone()
        .unwrap_or_else(host_name)
        .to_lowercase();
    Ok(Machine {
        node_name,
        addresses,
    })
}

/// Embedded etcd remembers its address and does not start with another.
pub(crate) fn check_etcd_member(options: &Options, machine: &Machine) -> Result<(), MachineError> {
    if !options.embedded_etcd {
        return Ok(());
    }
    let address = machine
        .addresses
        .first()
        .copied()
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let expected = match address {
        IpAddr::V4(address) => format!("https://{address}:2380"),
        IpAddr::V6(address) => format!("https://[{address}]:2380"),
    };
    let path = options.data_dir.join("server/db/etcd/simulated-peer");
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim() != expected => Err(MachineError::NotAMember {
            name: machine.node_name.clone(),
            found: found.trim().to_owned(),
            expected,
        }),
        Ok(_) => Ok(()),
        Err(_) => files::write_atomically(&path, expected.as_bytes(), 0o600)
            .map_err(|source| MachineError::File { path, source }),
    }
}

impl Machine {
    /// The default names of k3s' serving certificate, and those that the options add.
    pub(crate) fn certificate_names(&self, options: &Options) -> Names {
        let domain = &options.cluster_domain;
        let mut dns: BTreeSet<String> = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
        ]
        .iter()
        .map(|&name| name.to_owned())
        .collect();
        dns.insert(format!("kubernetes.default.svc.{domain}"));
        dns.insert(self.node_name.clone());
        let mut addresses: BTreeSet<IpAddr> =
            [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()].into();
        addresses.extend(&self.addresses);
        addresses.extend(options.advertise_address);
        addresses.extend(
            format!("{}.0.1", service_prefix(&options.service_cidr))
                .parse::<IpAddr>()
                .ok(),
        );
        for name in &options.tls_sans {
            match name.parse() {
                Ok(address) => {
                    addresses.insert(address);
                }
                Err(_) => {
                    dns.insert(name.clone());
                }
            }
        }
        Names { dns, addresses }
    }

    pub(crate) fn node_facts(&self, options: &Options) -> NodeFacts {
        let prefix = two_octets(&options.cluster_cidr).unwrap_or_else(|| "10.42".to_owned());
        NodeFacts {
            name: self.node_name.clone(),
            addresses: self.addresses.clone(),
            labels: options.node_labels.clone(),
            pod_cidr: format!("{prefix}.0.0/24"),
            embedded_etcd: options.embedded_etcd,
            kernel: read_line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            os_image: os_image(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_kib: memory_kib(),
            port: options.port,
        }
    }
}

/// `10.43` of `10.43.0.0/16`; k3s' default for what is no IPv4 range.
pub(crate) fn service_prefix(cidr: &str) -> String {
    two_octets(cidr).unwrap_or_else(|| "10.43".to_owned())
}

fn two_octets(cidr: &str) -> Option<String> {
    let address: Ipv4Addr = cidr.split('/').next()?.parse().ok()?;
    let [first, second, ..] = address.octets();
    Some(format!("{first}.{second}"))
}

/// The source address of the default route, found without sending anything.
fn default_address() -> IpAddr {
    let found = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    found().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn host_name() -> String {
    read_line("/proc/sys/kernel/hostname").unwrap_or_else(|| "localhost".to_owned())
}

fn os_image() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(
        || "Linux".to_owned(),
        |name| name.trim_matches('"').to_owned(),
    )
}

fn memory_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    total
        .and_then(|total| total.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}

fn read_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
