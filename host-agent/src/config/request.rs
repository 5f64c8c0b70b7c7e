//! What the guest is asked for, from the cluster's specification.

use lkc_protocol::message::{
    ApplyNetwork, Cni, ConfigureK3s, InterfaceConfig, K3sRole, RouteConfig,
};

use super::cluster::ClusterSpec;

impl ClusterSpec {
    /// The network of the cluster's first node.
    #[must_use]
    pub fn to_network(&self) -> ApplyNetwork {
        let default_route = |gateway: std::net::IpAddr| RouteConfig {
            to: "default".to_owned(),
            via: Some(gateway.to_string()),
            metric: None,
        };
        let interface = InterfaceConfig {
            id: self.interface.clone(),
            match_mac: Some(self.mac.to_string()),
            set_name: Some(self.interface.clone()),
            addresses: vec![format!("{}/{}", self.address, self.prefix)],
            routes: self.gateway.map(default_route).into_iter().collect(),
            nameservers: self.nameservers.iter().map(ToString::to_string).collect(),
            mtu: self.mtu,
            ..InterfaceConfig::default()
        };
        ApplyNetwork {
            hostname: Some(self.name.to_string()),
            interfaces: vec![interface],
        }
    }

    /// k3s on the cluster's first node.
    #[must_use]
    pub fn to_k3s(&self) -> ConfigureK3s {
        let flannel_interface = match self.cni {
            Cni::Default => Some(self.interface.clone()),
            Cni::None => None,
        };
        ConfigureK3s {
            role: K3sRole::Server,
            node_name: self.name.to_string(),
            node_ip: self.address.to_string(),
            flannel_interface,
            cni: self.cni,
            tls_san: self.k3s.tls_san.clone(),
            disable: self.k3s.disable.clone(),
            settings: self.k3s.settings.clone(),
            server_url: None,
            token: None,
        }
    }
}
