//! A carrier with the hops that stand in front of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Carrier, CarrierError, ConnectedCarrier, Hop, hop, ssh};

/// A carrier and the way to the place from which it is connected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Route {
    /// From this host on, each as seen from the one before it.
    pub via: Vec<Hop>,
    /// As seen from the last hop.
    pub carrier: Carrier,
    /// How SSH is spoken from this host.
    pub ssh: ssh::Options,
}

/// A route without hops and options is written as its carrier alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Direct(Carrier),
    Full {
        #[serde(default)]
        via: Vec<Hop>,
        to: Carrier,
        #[serde(default, skip_serializing_if = "is_default")]
        ssh: ssh::Options,
    },
}

fn is_default(options: &ssh::Options) -> bool {
    *options == ssh::Options::default()
}

impl From<Written> for Route {
    fn from(written: Written) -> Self {
        match written {
            Written::Direct(carrier) => carrier.into(),
            Written::Full { via, to, ssh } => Self {
                via,
                carrier: to,
                ssh,
            },
        }
    }
}

impl From<Route> for Written {
    fn from(route: Route) -> Self {
        let Route { via, carrier, ssh } = route;
        if via.is_empty() && is_default(&ssh) {
            Self::Direct(carrier)
        } else {
            let to = carrier;
            Self::Full { via, to, ssh }
        }
    }
}

impl From<Carrier> for Route {
    fn from(carrier: Carrier) -> Self {
        Self {
            via: Vec::new(),
            carrier,
            ssh: ssh::Options::default(),
        }
    }
}

impl Route {
    /// Whether only this host's kernel and a hypervisor are on the way, so that trying costs nothing
    /// and whoever is there answers at once.
    #[must_use]
    pub const fn is_near(&self) -> bool {
        let is_near = matches!(
            self.carrier,
            Carrier::Vsock { .. } | Carrier::Hybrid { .. } | Carrier::Unix(_) | Carrier::Serial(_)
        );
        is_near && self.via.is_empty()
    }

    /// Connects. The caller's deadline bounds it.
    ///
    /// # Errors
    /// Why not, with the place.
    pub async fn connect(&self) -> Result<ConnectedCarrier, CarrierError> {
        let connected = if self.via.is_empty() {
            self.carrier.connect(&self.ssh).await
        } else {
            hop::connect(&self.via, &self.carrier, &self.ssh).await
        };
        connected.map_err(|source| CarrierError {
            route: self.clone(),
            source,
        })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for hop in &self.via {
            write!(formatter, "{hop} → ")?;
        }
        self.carrier.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_survive_being_written_and_read() {
        for text in [
            r#""ssh:root@dev:2222""#,
            r#"{"via":["ssh:colima","exec:nice"],"to":"tcp:10.0.0.5:7000"}"#,
            r#"{"via":["ssh:colima"],"to":"tcp:10.0.0.5:7000","ssh":{"accept-new":true}}"#,
            r#"{"via":[],"to":"ssh:lima-k3s","ssh":{"config":"/home/me/.lima/k3s/ssh.config"}}"#,
        ] {
            let route: Route = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&route).unwrap(), text);
        }
        let route: Route = serde_json::from_str(r#"{"via":["ssh:a"],"to":"unix:/s"}"#).unwrap();
        assert_eq!(route.to_string(), "ssh:a → unix:/s");
    }
}
