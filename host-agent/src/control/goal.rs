//! What one can wait for: a rung of the ladder, or a condition on objects of the cluster.

use std::{fmt, str::FromStr};

use lkc_protocol::message::{Rung, WatchObject};
use serde::{Deserialize, Serialize};

/// Something to wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Goal {
    /// A rung, and with it every rung below.
    Rung(Rung),
    /// A condition on objects, which need not exist yet.
    Object(ObjectGoal),
}

/// A condition on objects: `RESOURCE/NAME`, `RESOURCE/NAMESPACE/NAME` or
/// `RESOURCE/NAMESPACE?SELECTOR`, each with `=CONDITION` behind it if another condition than the
/// resource's own idea of ready is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectGoal {
    /// As `kubectl get` names it.
    pub resource: String,
    /// Namespace, none for cluster-wide resources and the default one.
    pub namespace: Option<String>,
    /// Name, none with a selector.
    pub name: Option<String>,
    /// Label selector, none with a name.
    pub selector: Option<String>,
    /// Condition type that must be true.
    pub condition: Option<String>,
}

impl ObjectGoal {
    /// The request that watches it.
    #[must_use]
    pub fn to_request(&self) -> WatchObject {
        WatchObject {
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            selector: self.selector.clone(),
            condition: self.condition.clone(),
        }
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(rung) = text.parse() {
            return Ok(Self::Rung(rung));
        }
        let Some((resource, rest)) = text.split_once('/') else {
            let rungs: Vec<_> = Rung::ALL.iter().map(|rung| rung.as_str()).collect();
            return Err(format!(
                "`{text}` is neither a rung ({}) nor an object like deployment/kube-system/coredns, crd/NAME or pods/NAMESPACE?SELECTOR",
                rungs.join(", ")
            ));
        };
        let goal = match rest.split_once('?') {
            Some((namespace, selector)) => selector_goal(resource, namespace, selector),
            None => named_goal(resource, rest),
        };
        if goal.is_sound() {
            Ok(Self::Object(goal))
        } else {
            Err(format!(
                "`{text}` lacks a name: write RESOURCE/NAME, RESOURCE/NAMESPACE/NAME or RESOURCE/NAMESPACE?SELECTOR"
            ))
        }
    }
}

fn named_goal(resource: &str, rest: &str) -> ObjectGoal {
    let (path, condition) = split_condition(rest);
    let (namespace, name) = match path.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, path),
    };
    let (resource, name) = (resource.to_owned(), Some(name.to_owned()));
    ObjectGoal {
        resource,
        namespace,
        name,
        selector: None,
        condition,
    }
}

/// A selector has `=` of its own, so a condition behind it is set off by another `?`.
fn selector_goal(resource: &str, namespace: &str, selector: &str) -> ObjectGoal {
    let (selector, condition) = match selector.split_once('?') {
        Some((selector, condition)) => (selector, Some(condition.to_owned())),
        None => (selector, None),
    };
    ObjectGoal {
        resource: resource.to_owned(),
        namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
        name: None,
        selector: Some(selector.to_owned()),
        condition,
    }
}

fn split_condition(text: &str) -> (&str, Option<String>) {
    match text.split_once('=') {
        Some((path, condition)) => (path, Some(condition.to_owned())),
        None => (text, None),
    }
}

impl ObjectGoal {
    fn is_sound(&self) -> bool {
        let legal = |part: &String| {
            !part.is_empty()
                && part.len() <= 253
                && !part.contains(['/', ' '])
                && !part.contains(char::is_control)
        };
        legal(&self.resource)
            && self.namespace.as_ref().is_none_or(legal)
            && self.name.as_ref().is_none_or(legal)
            && self.condition.as_ref().is_none_or(legal)
            && self.selector.as_ref().is_none_or(|selector| {
                !selector.is_empty()
                    && selector.len() <= 1024
                    && !selector.contains(char::is_control)
            })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rung(rung) => formatter.pad(rung.as_str()),
            Self::Object(goal) => goal.fmt(formatter),
        }
    }
}

impl fmt::Display for ObjectGoal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/", self.resource)?;
        if let Some(namespace) = &self.namespace {
            formatter.write_str(namespace)?;
        }
        if let Some(name) = &self.name {
            let slash = if self.namespace.is_some() { "/" } else { "" };
            write!(formatter, "{slash}{name}")?;
        }
        if let Some(selector) = &self.selector {
            write!(formatter, "?{selector}")?;
        }
        match (&self.condition, &self.selector) {
            (Some(condition), None) => write!(formatter, "={condition}"),
            (Some(condition), Some(_)) => write!(formatter, "?{condition}"),
            (None, _) => Ok(()),
        }
    }
}

impl TryFrom<String> for Goal {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Goal> for String {
    fn from(goal: Goal) -> Self {
        goal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_survive_being_written_and_read() {
        for text in [
            "node",
            "api",
            "deployment/coredns",
            "deployment/kube-system/coredns",
            "crd/gateways.gateway.networking.k8s.io=Established",
            "pods/kube-system?k8s-app=kube-dns",
            "pods/?app in (a,b)",
            "pods/default?app=web?Ready",
        ] {
            let goal: Goal = text
                .parse()
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(goal.to_string(), text);
        }
    }

    #[test]
    fn goals_that_name_nothing_are_refused() {
        for text in [
            "",
            "nodes",
            "NotReady",
            "deployment/",
            "deployment//x",
            "pods/ns?",
            "a/b/c/d",
        ] {
            assert!(text.parse::<Goal>().is_err(), "{text} was accepted");
        }
    }
}
