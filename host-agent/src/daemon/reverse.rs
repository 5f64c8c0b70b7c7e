//! Reverse forwards: listeners that the guest has for us, and what their connections lead to here.
//!
//! [`listener`] asks for one on a link and keeps it; [`arrivals`] takes the connections that the
//! guest brings on that link. What may be reached is what stands in a [`Reverse`], made from this
//! host's configuration: the guest names a listener by the number that we gave it on this very
//! link, so it can neither make a way in nor choose where one leads. An arrival that has no such
//! number is refused, and nothing is connected for it.

mod arrivals;
mod counters;
mod listener;
mod target;

use std::sync::Arc;

pub(super) use arrivals::{Arrivals, Limits};
pub(super) use listener::keep;

use crate::config::ReverseSpec;
use counters::ReverseCounters;

/// A reverse forward with what it has done so far. Links come and go under it.
#[derive(Debug)]
pub(super) struct Reverse {
    pub(super) spec: ReverseSpec,
    pub(super) counters: ReverseCounters,
}

impl Reverse {
    pub(super) fn new(spec: ReverseSpec) -> Arc<Self> {
        let counters = ReverseCounters::default();
        Arc::new(Self { spec, counters })
    }
}

#[cfg(test)]
mod tests;
