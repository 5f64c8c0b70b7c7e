//! Clusters that cannot be up at the same time, because both claim the same thing.

use std::net::IpAddr;

use thiserror::Error;

use super::{
    LARGEST_INDEX,
    cluster::{ClusterName, ClusterSpec, ForwardProtocol, ForwardSpec, MacAddress},
    draft::WELL_KNOWN,
};
use crate::error::{CommandError, Kind};

/// Two clusters claim the same thing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the clusters {ours} and {theirs} have the same {claim}")]
pub struct Collision {
    /// The cluster that was looked at.
    pub ours: ClusterName,
    /// The one it was compared with.
    pub theirs: ClusterName,
    /// What both claim.
    pub claim: Claim,
    /// Lowest index that no cluster has, if one is left.
    pub free_index: Option<u8>,
}

/// What two clusters claim.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Claim {
    /// The index.
    #[error("index {0}")]
    Index(u8),
    /// The node's address.
    #[error("address {0}")]
    Address(IpAddr),
    /// The node's hardware address.
    #[error("MAC address {0}")]
    Mac(MacAddress),
    /// A listener.
    #[error("{place}, by their forwards `{ours}` and `{theirs}`")]
    Listener {
        /// The port or the socket, as [`ForwardSpec::place`] has it.
        place: Box<str>,
        /// Forward of the cluster that was looked at.
        ours: String,
        /// Forward of the other.
        theirs: String,
    },
}

impl Collision {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let ours = &self.ours;
        match &self.claim {
            Claim::Index(_) => match self.free_index {
                Some(index) => format!("give {ours} an index that is free: {index}"),
                None => "every index is taken: delete a cluster".to_owned(),
            },
            Claim::Address(_) => format!("give {ours} another address"),
            Claim::Mac(_) => format!("give {ours} another MAC address"),
            Claim::Listener { ours: forward, .. } => {
                format!("give `{forward}` of {ours} another port, or {ours} another index")
            }
        }
    }

    /// What to change in the file.
    pub(super) fn line_to_write(&self) -> String {
        let (ours, claim) = (&self.ours, &self.claim);
        match (claim, self.free_index) {
            (Claim::Index(_), Some(index)) => {
                format!("write `index = {index}` in [cluster.{ours}]")
            }
            (Claim::Index(_), None) => self.hint(),
            (Claim::Address(_), _) => format!("write another `address` in [cluster.{ours}]"),
            (Claim::Mac(_), _) => format!("write another `mac` in [cluster.{ours}]"),
            (Claim::Listener { ours: name, .. }, _) if is_well_known(name) => {
                format!("write another port for `{name}` in [cluster.{ours}.ports]")
            }
            (Claim::Listener { ours: name, .. }, _) => {
                format!("write another `host` for `{name}` in [[cluster.{ours}.forward]]")
            }
        }
    }
}

fn is_well_known(name: &str) -> bool {
    WELL_KNOWN.iter().any(|known| known.name == name)
}

impl From<Collision> for CommandError {
    fn from(collision: Collision) -> Self {
        let hint = collision.hint();
        Self::new(Kind::Conflict, collision).hint(hint)
    }
}

/// Looks for something that `spec` and one of `others` both claim. A cluster of the same name in
/// `others` is the same cluster, and passed over.
pub fn check_against(spec: &ClusterSpec, others: &[ClusterSpec]) -> Result<(), Collision> {
    let others: Vec<&ClusterSpec> = others
        .iter()
        .filter(|other| other.name != spec.name)
        .collect();
    for other in &others {
        if let Some(claim) = common_claim(spec, other) {
            return Err(Collision {
                ours: spec.name.clone(),
                theirs: other.name.clone(),
                claim,
                free_index: free_index(&others),
            });
        }
    }
    Ok(())
}

/// The lowest index that none of these has.
fn free_index(taken: &[&ClusterSpec]) -> Option<u8> {
    (0..=LARGEST_INDEX).find(|&index| taken.iter().all(|spec| spec.index != index))
}

/// What both claim; the index first, since from it the others follow.
fn common_claim(ours: &ClusterSpec, theirs: &ClusterSpec) -> Option<Claim> {
    if ours.index == theirs.index {
        return Some(Claim::Index(ours.index));
    }
    if ours.address == theirs.address {
        return Some(Claim::Address(ours.address));
    }
    if ours.mac == theirs.mac {
        return Some(Claim::Mac(ours.mac));
    }
    let pairs = ours
        .forwards
        .iter()
        .flat_map(|a| theirs.forwards.iter().map(move |b| (a, b)));
    let (a, b) = { pairs }.find(|(a, b)| a.listens_where(b))?;
    Some(Claim::Listener {
        place: a.place().into(),
        ours: a.name.clone(),
        theirs: b.name.clone(),
    })
}

impl ForwardSpec {
    /// What nobody else can listen on beside it: `host port 5432`, `socket /run/db.sock`.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.socket {
            Some(path) => format!("socket {}", path.display()),
            None => format!("host port {}", self.host_port),
        }
    }

    /// Whether both cannot listen at once.
    pub(crate) fn listens_where(&self, other: &Self) -> bool {
        if self.socket.is_some() || other.socket.is_some() {
            return self.socket == other.socket;
        }
        (self.protocol == ForwardProtocol::Udp) == (other.protocol == ForwardProtocol::Udp)
            && self.host_port == other.host_port
            && self
                .bind
                .iter()
                .any(|a| other.bind.iter().any(|b| overlap(*a, *b)))
    }
}

/// An unspecified address takes in every other, `::` those of IPv4 as well.
pub(super) fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let takes_in = |a: IpAddr, b: IpAddr| a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    a == b || takes_in(a, b) || takes_in(b, a)
}
