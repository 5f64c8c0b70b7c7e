//! The order of renames: a name must be free when it is given.

use super::super::observed::ObservedNetwork;
use super::action::{Action, LinkRef};
use super::error::PlanError;
use super::target::Target;

struct Pending<'a> {
    link: u32,
    from: String,
    to: &'a str,
}

/// The renames of `targets` in an order that works; links that trade names go through a temporary one.
pub(super) fn order(
    targets: &[Target<'_>],
    network: &ObservedNetwork,
) -> Result<Vec<Action>, PlanError> {
    let mut pending: Vec<Pending<'_>> = targets
        .iter()
        .filter(|target| target.is_renamed())
        .map(|target| Pending {
            link: target.link.index,
            from: target.link.name.clone(),
            to: target.name,
        })
        .collect();
    let mut taken: Vec<String> = network.links.iter().map(|link| link.name.clone()).collect();
    for one in &pending {
        let freed = pending.iter().any(|other| other.from == one.to);
        let contested = pending
            .iter()
            .any(|other| other.to == one.to && other.link != one.link);
        if contested || (!freed && taken.iter().any(|name| name == one.to)) {
            return Err(PlanError::NameTaken {
                link: one.from.clone(),
                name: one.to.to_owned(),
            });
        }
    }
    let mut actions = Vec::new();
    while !pending.is_empty() {
        let free = |one: &Pending<'_>| !taken.iter().any(|name| name == one.to);
        let (at, to) = match pending.iter().position(free) {
            Some(at) => (at, pending[at].to.to_owned()),
            None => (0, temporary(&taken)),
        };
        let one = &mut pending[at];
        let from = std::mem::replace(&mut one.from, to.clone());
        taken.retain(|name| *name != from);
        taken.push(to.clone());
        let done = one.from == one.to;
        let link = LinkRef {
            index: one.link,
            name: from,
        };
        actions.push(Action::Rename { link, to });
        if done {
            pending.swap_remove(at);
        }
    }
    Ok(actions)
}

fn temporary(taken: &[String]) -> String {
    let mut names = (0u32..).map(|number| format!("lkc-swap{number}"));
    names
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| "lkc-swap".to_owned())
}
