//! Hops that only copy.

use std::{net::SocketAddr, path::Path};

use super::ours::address;
use crate::{Failure, bare_relay::HopOrder, children::Child, splice_relay::SpliceOrder};

pub(super) fn start(hops: u32, target: SocketAddr) -> Result<(SocketAddr, Vec<Child>), Failure> {
    let (mut entry, mut children) = (target, Vec::new());
    for _ in 0..hops {
        let (child, listening) = Child::ours("relay-hop", &HopOrder { target: entry })?;
        entry = address(&listening)?;
        children.push(child);
    }
    Ok((entry, children))
}

pub(super) fn start_splicing(
    target: SocketAddr,
    directory: &Path,
) -> Result<(SocketAddr, Vec<Child>), Failure> {
    let between = directory.join("between.sock");
    let (second, _) = Child::ours("splice-hop", &SpliceOrder::Leave(between.clone(), target))?;
    let (first, listening) = Child::ours("splice-hop", &SpliceOrder::Enter(between))?;
    Ok((address(&listening)?, vec![first, second]))
}
