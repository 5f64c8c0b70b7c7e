//! A carrier with the hops that stand in front of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Carrier, CarrierError, ConnectedCarrier, Hop, hop};

/// A carrier and the way to the place from which it is connected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Route {
    /// From this host on, each as seen from the one before it.
    pub via: Vec<Hop>,
    /// As seen from the last hop.
    pub carrier: Carrier,
}

/// A route without hops is written as its carrier alone.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Direct(Carrier),
    Via { via: Vec<Hop>, to: Carrier },
}

impl From<Written> for Route {
    fn from(written: Written) -> Self {
        match written {
            Written::Direct(carrier) => carrier.into(),
            Written::Via { via, to } => Self { via, carrier: to },
        }
    }
}

impl From<Route> for Written {
    fn from(route: Route) -> Self {
        let Route { via, carrier } = route;
        if via.is_empty() {
            Self::Direct(carrier)
        } else {
            Self::Via { via, to: carrier }
        }
    }
}

impl From<Carrier> for Route {
    fn from(carrier: Carrier) -> Self {
        Self {
            via: Vec::new(),
            carrier,
        }
    }
}

impl Route {
    /// Connects. The caller's deadline bounds it.
    ///
    /// # Errors
    /// Why not, with the place.
    pub async fn connect(&self) -> Result<ConnectedCarrier, CarrierError> {
        let connected = if self.via.is_empty() {
            self.carrier.connect().await
        } else {
            hop::connect(&self.via, &self.carrier).await
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
