//! What differs between two specifications, and what two clusters cannot share.
//!
//! While a cluster runs, forwards, gateway, DNS servers, MTU and the settings of k3s change without
//! stopping its machine: listeners are added and removed, the guest gets its network and its k3s
//! configuration again. Everything else fixes how the machine is made or what k3s keeps on disk.

use crate::{
    config::{ClusterName, ClusterSpec, ForwardSpec},
    control::Failure,
    error::Kind,
};

/// What it takes to come from one specification to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Nothing: they are the same.
    None,
    /// It can be done while the machine runs.
    Live,
    /// The machine has to be started anew.
    NeedsRestart {
        /// What differs, as the configuration calls it.
        fields: Vec<&'static str>,
    },
}

pub(super) fn difference(old: &ClusterSpec, new: &ClusterSpec) -> Difference {
    if old == new {
        return Difference::None;
    }
    let (gone, added) = forward_changes(&old.forwards, &new.forwards);
    let rebound = added.iter().any(|new| {
        gone.iter()
            .chain(&old.forwards)
            .any(|old| old.listens_where(new))
    });
    let fields: Vec<_> = [
        ("driver", old.driver != new.driver),
        ("carriers", old.reach != new.reach),
        ("vm", old.vm != new.vm),
        ("address", old.address != new.address),
        ("prefix", old.prefix != new.prefix),
        ("mac", old.mac != new.mac),
        ("interface", old.interface != new.interface),
        ("cni", old.cni != new.cni),
        ("encrypt", old.encrypt != new.encrypt),
        ("k3s binary", old.k3s.binary != new.k3s.binary),
        ("target of a forward", rebound),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect();
    if fields.is_empty() {
        Difference::Live
    } else {
        Difference::NeedsRestart { fields }
    }
}

/// Whether the guest has to be told.
pub(super) fn reconfigures(old: &ClusterSpec, new: &ClusterSpec) -> bool {
    old.gateway != new.gateway
        || old.mtu != new.mtu
        || old.nameservers != new.nameservers
        || old.k3s != new.k3s
}

/// Forwards that are only in `old`, and those that are only in `new`.
pub(super) fn forward_changes(
    old: &[ForwardSpec],
    new: &[ForwardSpec],
) -> (Vec<ForwardSpec>, Vec<ForwardSpec>) {
    let only_in = |these: &[ForwardSpec], those: &[ForwardSpec]| {
        let missing = |one: &&ForwardSpec| !those.contains(one);
        these.iter().filter(missing).cloned().collect()
    };
    (only_in(old, new), only_in(new, old))
}

/// Why `wanted` cannot listen beside `known`, a forward of `cluster`.
pub(super) fn forward_collision(
    wanted: &ForwardSpec,
    cluster: &ClusterName,
    known: &ForwardSpec,
) -> Option<Failure> {
    if !wanted.listens_where(known) {
        return None;
    }
    Some(Failure {
        kind: Kind::Conflict,
        message: format!(
            "{} is taken by forward {} of cluster {cluster}",
            wanted.place(),
            known.name
        ),
        hints: vec!["choose another one".to_owned()],
        tail: Vec::new(),
    })
}
