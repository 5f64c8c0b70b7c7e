//! The cluster's own life: the node that registers and becomes Ready, and the controllers.
//!
//! ```text
//! listening ─ready_delay→ ready ─node_delay→ registered, NotReady ─(CNI) node_ready_delay→ Ready
//! ```
//!
//! Pure: [`Lifecycle::step`] is called with the time and the world, changes the store, and says when
//! it wants to be called again. The controllers compare what is with what should be, so the order of
//! calls does not matter and a call too many changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::api::World;
use crate::clock::Moment;
use crate::script::Script;

mod cleanup;
mod events;
mod namespaces;
mod node;
mod pods;
mod services;
mod system;
mod workloads;

pub(crate) use node::NodeFacts;

/// How often one step goes round before it lets others run; each round settles one layer of owners.
const ROUNDS_LIMIT: usize = 16;

pub(crate) struct Lifecycle {
    facts: NodeFacts,
    script: Script,
    disabled: Vec<String>,
    has_cni: bool,
    server_ca_pem: String,
    has_begun: bool,
    has_deployed: bool,
    registered_at: Option<Duration>,
    cni_at: Option<Duration>,
    ready_at: Option<Duration>,
    has_failed: bool,
    lease_renewed_at: Option<Duration>,
    /// When each pod was scheduled, by uid, until it runs.
    scheduled_at: BTreeMap<String, Duration>,
}

impl Lifecycle {
    pub(crate) fn new(
        facts: NodeFacts,
        script: Script,
        disabled: Vec<String>,
        has_cni: bool,
        server_ca_pem: String,
    ) -> Self {
        Self {
            facts,
            script,
            disabled,
            has_cni,
            server_ca_pem,
            has_begun: false,
            has_deployed: false,
            registered_at: None,
            cni_at: None,
            ready_at: None,
            has_failed: false,
            lease_renewed_at: None,
            scheduled_at: BTreeMap::new(),
        }
    }

    /// Does what is due, and says at which uptime there will be more to do.
    pub(crate) fn step(&mut self, world: &mut World, now: Moment) -> Option<Duration> {
        if !self.has_begun {
            self.has_begun = true;
            namespaces::begin(world, now);
            services::begin(world, &self.facts, now);
        }
        let mut wake = Wake::default();
        if wake.is_due(self.script.ready_delay, now) {
            world.is_ready = true;
            if !self.has_deployed {
                self.has_deployed = true;
                system::deploy(world, &self.disabled, now);
            }
        }
        for _ in 0..ROUNDS_LIMIT {
            let before = world.store.version();
            namespaces::reconcile(world, &self.server_ca_pem, now);
            self.step_node(world, now, &mut wake);
            workloads::reconcile(
                world,
                self.registered_at.map(|_| self.facts.name.as_str()),
                now,
            );
            self.step_pods(world, now, &mut wake);
            services::reconcile(world, now);
            cleanup::reconcile(world, now);
            if world.store.version() == before {
                break;
            }
        }
        wake.at
    }

    fn is_node_ready(&self) -> bool {
        self.ready_at.is_some() && !self.has_failed
    }
}

/// The earliest of the times at which something becomes due.
#[derive(Debug, Default)]
struct Wake {
    at: Option<Duration>,
}

impl Wake {
    /// Whether `at` has come; if not, it is remembered.
    fn is_due(&mut self, at: Duration, now: Moment) -> bool {
        if now.uptime >= at {
            return true;
        }
        self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
        false
    }
}

/// The objects of a resource in all namespaces, free of the store.
fn snapshot(world: &World, resource: &str) -> Vec<std::sync::Arc<Value>> {
    world
        .store
        .list(resource, None)
        .map(|(_, object)| object.clone())
        .collect()
}

#[cfg(test)]
mod tests;
