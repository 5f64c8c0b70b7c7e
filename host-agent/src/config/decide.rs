//! From what is said of a cluster to a specification in which everything is decided.

mod forwards;
mod k3s;
mod network;
mod reach;
mod reverse;
mod vm;

pub(super) use forwards::forward_argument;

use std::{fmt::Display, str::FromStr, time::Duration};

use lkc_protocol::message::{Cni, Rung};

use super::{
    UpDefaults, Warning,
    cluster::{ClusterSpec, Driver, Encrypt},
    draft::Draft,
    duration,
    place::{Place, Placed, place_of},
    problem::Problem,
    suggest::nearest,
};
use crate::control::goal::Goal;

/// Largest index of a cluster: 90 clusters have addresses and ports of their own by the scheme.
pub const LARGEST_INDEX: u8 = 89;

/// How long `up` waits unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// A decided cluster.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) spec: ClusterSpec,
    pub(super) up: UpDefaults,
    pub(super) places: Places,
    pub(super) warnings: Vec<Warning>,
}

/// Where the values that can collide were said.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) index: Place,
    pub(super) address: Place,
    pub(super) mac: Place,
    /// One for each of the specification's forwards.
    pub(super) forwards: Vec<Place>,
}

/// Decides everything about a cluster.
pub(super) fn decide(draft: &Draft) -> Result<Decided, Problem> {
    let mut warnings = Vec::new();
    let index = index(draft)?;
    let index_place = place_of(draft.index.as_ref(), &draft.name.place);
    let driver = word(draft.driver.as_ref(), Driver::ALL, Driver::as_str)?
        .or_else(|| reach::usual_driver(draft))
        .or_else(|| vm::usual_driver(draft))
        .unwrap_or(Driver::Sandbox);
    let reach = reach::decide(draft, driver)?;
    let vm = vm::decide(draft, driver)?;
    let network = network::decide(draft, index, driver)?;
    let cni = word(draft.cni.as_ref(), Cni::ALL, Cni::as_str)?.unwrap_or(Cni::Default);
    let (forwards, forward_places) = forwards::decide(draft, index, &index_place, &mut warnings)?;
    let k3s = k3s::decide(draft)?;
    let known = reverse::Known {
        node: network.address,
        forwards: &forwards,
        forward_places: &forward_places,
        k3s: &k3s,
    };
    let reverse = reverse::decide(draft, &known, &mut warnings)?;
    let goal = goal(draft, cni, &mut warnings)?;
    let timeout = parsed(draft.timeout.as_ref(), duration::parse)?.unwrap_or(DEFAULT_TIMEOUT);
    let address_place = place_of(draft.address.as_ref(), &index_place);
    let places = Places {
        mac: place_of(draft.mac.as_ref(), &address_place),
        address: address_place,
        index: index_place,
        forwards: forward_places,
    };
    let spec = ClusterSpec {
        name: draft.name.value.clone(),
        index,
        driver,
        reach,
        vm,
        address: network.address,
        prefix: network.prefix,
        gateway: network.gateway,
        mac: network.mac,
        interface: network.interface,
        mtu: network.mtu,
        nameservers: network.nameservers,
        cni,
        k3s,
        forwards,
        reverse,
        encrypt: word(draft.encrypt.as_ref(), Encrypt::ALL, Encrypt::as_str)?.unwrap_or_default(),
    };
    let warnings = warnings
        .into_iter()
        .map(|text| Warning {
            cluster: spec.name.clone(),
            text,
        })
        .collect();
    Ok(Decided {
        spec,
        up: UpDefaults { goal, timeout },
        places,
        warnings,
    })
}

fn index(draft: &Draft) -> Result<u8, Problem> {
    let Some(index) = &draft.index else {
        return Ok(0);
    };
    u8::try_from(index.value)
        .ok()
        .filter(|&index| index <= LARGEST_INDEX)
        .ok_or_else(|| {
            let message = format!(
                "{} is not an index: they go from 0 to {LARGEST_INDEX}",
                index.value
            );
            Problem::at(&index.place, message)
        })
}

fn goal(draft: &Draft, cni: Cni, warnings: &mut Vec<String>) -> Result<Goal, Problem> {
    let Some(goal) = parsed(draft.wait.as_ref(), Goal::from_str)? else {
        let rung = if cni == Cni::None {
            Rung::Api
        } else {
            Rung::Node
        };
        return Ok(Goal::Rung(rung));
    };
    if cni == Cni::None && matches!(goal, Goal::Rung(Rung::Node | Rung::System)) {
        warnings.push(format!(
            "`up` waits for the rung {goal}, which a cluster without CNI reaches only when you install one meanwhile"
        ));
    }
    Ok(goal)
}

/// One of a few words.
fn word<T: Copy>(
    said: Option<&Placed<String>>,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<Option<T>, Problem> {
    let Some(said) = said else { return Ok(None) };
    let found = all
        .iter()
        .copied()
        .find(|&value| as_str(value) == said.value);
    found.map(Some).ok_or_else(|| {
        let words: Vec<_> = all.iter().copied().map(as_str).collect();
        let problem = Problem::at(
            &said.place,
            format!(
                "`{}` is not among the choices: {}",
                said.value,
                words.join(", ")
            ),
        );
        match nearest(&said.value, words) {
            Some(meant) => problem.help(format!("did you mean `{meant}`?")),
            None => problem,
        }
    })
}

/// A text read by `parse`, whose error is the message.
fn parsed<T, E: Display>(
    said: Option<&Placed<String>>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Problem> {
    said.map(|said| parse(&said.value).map_err(|error| Problem::at(&said.place, error.to_string())))
        .transpose()
}
