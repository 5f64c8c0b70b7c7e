//! Requests about k3s and the objects in it.

use bincode::{Decode, Encode};

use super::wire_enum::wire_enum;

wire_enum! {
    /// Role of a node in k3s.
    pub enum K3sRole {
        /// Runs the API.
        Server = 1 => "server",
        /// Joins a server.
        Agent = 2 => "agent",
    }
}

wire_enum! {
    /// Who provides the pod network.
    pub enum Cni {
        /// k3s' built-in flannel.
        Default = 1 => "default",
        /// Nobody yet: the user installs one, and the node is not Ready until then.
        None = 2 => "none",
    }
}

/// Asks the guest to configure k3s and to have it running; a restart only when something changed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ConfigureK3s {
    /// Role of this node.
    pub role: K3sRole,
    /// Name of the node object.
    pub node_name: String,
    /// `node-ip`, without prefix.
    pub node_ip: String,
    /// `flannel-iface`, none to let k3s choose.
    pub flannel_interface: Option<String>,
    /// Pod network provider.
    pub cni: Cni,
    /// Additional names of the serving certificate.
    pub tls_san: Vec<String>,
    /// Packaged components to leave out (`disable`).
    pub disable: Vec<String>,
    /// Further `key=value` settings for k3s' configuration file, in its own words; a repeated key
    /// makes a list, a key alone means true.
    pub settings: Vec<String>,
    /// URL of the server to join, for agents.
    pub server_url: Option<String>,
    /// Join token, for agents.
    pub token: Option<String>,
}

/// k3s is configured and started, or was found running so.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct K3sConfigured {
    /// Whether the configuration differed from what was there.
    pub changed: bool,
    /// Whether k3s was started or restarted for it.
    pub started: bool,
}

/// Asks for the cluster's credentials; the stream carries [`KubeconfigValues`], the first as soon
/// as k3s has written them and another whenever they change.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Kubeconfig {}

/// Values follow.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct KubeconfigAnswer {}

/// What a kubeconfig is built from. Never YAML: the host writes its own.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct KubeconfigValues {
    /// Port of the API on the guest's loopback.
    pub api_port: u16,
    /// Certificate authority, PEM.
    pub certificate_authority: String,
    /// Client certificate, PEM.
    pub client_certificate: Option<String>,
    /// Its private key, PEM.
    pub client_key: Option<String>,
    /// Bearer token.
    pub token: Option<String>,
    /// User name, old k3s releases only.
    pub username: Option<String>,
    /// Password, old k3s releases only.
    pub password: Option<String>,
}

impl std::fmt::Debug for KubeconfigValues {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KubeconfigValues")
            .field("api_port", &self.api_port)
            .finish_non_exhaustive()
    }
}

/// Asks to watch objects until they meet a condition; the stream carries [`ObjectStatus`]es. The
/// objects need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WatchObject {
    /// Resource as in `kubectl get`: `deployment`, `crd`, `pods`, `gateways.gateway.networking.k8s.io`.
    pub resource: String,
    /// Namespace, none for the cluster-wide or the default one.
    pub namespace: Option<String>,
    /// Name, none for every object that the selector takes.
    pub name: Option<String>,
    /// Label selector.
    pub selector: Option<String>,
    /// Condition type that must be true; none for the resource's own idea of ready.
    pub condition: Option<String>,
}

/// The watch has begun.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct WatchObjectAnswer {}

/// Where the objects stand.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ObjectStatus {
    /// Whether all of them meet the condition, and there is at least one.
    pub satisfied: bool,
    /// For people: `deployment kube-system/coredns: 0 of 1 available`.
    pub detail: String,
}
