//! Reverse forwards: the host has the guest listen, the guest brings what connects.
//!
//! The host names both ends beforehand: it says where the guest listens, and it alone knows what
//! the listener leads to. What the guest says of a connection is the number of its listener.

use bincode::{Decode, Encode};

/// Asks the guest to listen for TCP connections; the listener lives as long as the stream.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Listen {
    /// What the guest calls this listener in each [`Arrive`]; the host's choice, unique on a link.
    pub id: u32,
    /// An address of the guest: loopback, its own, or the unspecified one. Never a name.
    pub address: String,
    /// Port, neither 0 nor one of [`K3S_PORTS`].
    pub port: u16,
}

/// The guest listens.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Listening {
    /// Socket address that is bound.
    pub address: String,
}

/// Tells the host that a connection came to one of its listeners; the stream becomes the
/// connection once the host has connected to what it has named for that listener.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Arrive {
    /// The number of the [`Listen`].
    pub listen: u32,
}

/// The host's target has taken the connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Arrived {}

/// Ports of a node that k3s listens on, and what for. A listener that took one before k3s starts
/// would keep k3s from starting, so the guest refuses them and the host does not ask.
pub const K3S_PORTS: &[(u16, &str)] = &[
    (2379, "etcd's clients"),
    (2380, "etcd's members"),
    (2381, "etcd's metrics"),
    (2382, "etcd's HTTP clients"),
    (6443, "the Kubernetes API"),
    (6444, "the load balancer of the API"),
    (10010, "containerd's streams"),
    (10248, "the kubelet's health"),
    (10249, "kube-proxy's metrics"),
    (10250, "the kubelet"),
    (10256, "kube-proxy's health"),
    (10257, "the controller manager"),
    (10258, "the cloud controller"),
    (10259, "the scheduler"),
];

/// What k3s listens for on a port, if it does.
#[must_use]
pub fn k3s_use_of(port: u16) -> Option<&'static str> {
    let found = K3S_PORTS.iter().find(|(taken, _)| *taken == port);
    found.map(|(_, what)| *what)
}
