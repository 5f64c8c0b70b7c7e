//! Whether an object is what was asked for: a condition that was named, or its kind's own idea of
//! ready. Pure; nothing is ever told from text.

use kube::core::{ApiResource, DynamicObject};
use serde_json::Value;

/// What an object is judged to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) met: bool,
    /// `0 of 1 available`.
    pub(super) detail: String,
}

/// Judges an object.
pub(super) fn judge(
    kind: &ApiResource,
    object: &DynamicObject,
    condition: Option<&str>,
) -> Verdict {
    if object.metadata.deletion_timestamp.is_some() {
        return verdict(false, "is being deleted");
    }
    let view = View {
        generation: object.metadata.generation.unwrap_or(0),
        data: &object.data,
    };
    if let Some(condition) = condition {
        return view.condition(condition);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment") => view.deployment(),
        ("apps", "DaemonSet") => view.daemon_set(),
        ("apps", "StatefulSet") => view.stateful_set(),
        ("", "Pod") => view.pod(),
        ("batch", "Job") => view.job(),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => view.condition("Established"),
        ("", "Node") => view.condition("Ready"),
        ("", "Namespace") => view.namespace(),
        _ => view.any(),
    }
}

struct View<'object> {
    generation: i64,
    data: &'object Value,
}

impl View<'_> {
    fn deployment(&self) -> Verdict {
        let desired = self.number("/spec/replicas", 1);
        let available = self.number("/status/availableReplicas", 0);
        let updated = self.number("/status/updatedReplicas", 0);
        if !self.is_observed() {
            return verdict(false, "its change is not seen yet");
        }
        if updated < desired {
            return verdict(false, &format!("{updated} of {desired} updated"));
        }
        let met = self.is_true("Available") && available >= desired;
        verdict(met, &format!("{available} of {desired} available"))
    }

    fn daemon_set(&self) -> Verdict {
        let desired = self.number("/status/desiredNumberScheduled", 0);
        let updated = self.number("/status/updatedNumberScheduled", 0);
        let available = self.number("/status/numberAvailable", 0);
        if !self.is_observed() {
            return verdict(false, "its change is not seen yet");
        }
        if updated < desired {
            return verdict(false, &format!("{updated} of {desired} updated"));
        }
        verdict(
            available >= desired,
            &format!("{available} of {desired} available"),
        )
    }

    fn stateful_set(&self) -> Verdict {
        let desired = self.number("/spec/replicas", 1);
        let updated = self.number("/status/updatedReplicas", 0);
        let ready = self.number("/status/readyReplicas", 0);
        if !self.is_observed() {
            return verdict(false, "its change is not seen yet");
        }
        if updated < desired {
            return verdict(false, &format!("{updated} of {desired} updated"));
        }
        verdict(ready >= desired, &format!("{ready} of {desired} ready"))
    }

    fn pod(&self) -> Verdict {
        if self.text("/status/phase") == "Succeeded" {
            return verdict(true, "Succeeded");
        }
        let ready = self.condition("Ready");
        match self.text("/status/phase") {
            phase @ ("Pending" | "Failed") if !ready.met => verdict(false, phase),
            _ => ready,
        }
    }

    fn job(&self) -> Verdict {
        if self.is_true("Complete") {
            return verdict(true, "Complete");
        }
        if self.is_true("Failed") {
            return verdict(false, &format!("Failed: {}", self.explanation("Failed")));
        }
        let active = self.number("/status/active", 0);
        verdict(false, &format!("{active} running"))
    }

    fn namespace(&self) -> Verdict {
        let phase = self.text("/status/phase");
        verdict(
            phase == "Active",
            if phase.is_empty() {
                "no phase yet"
            } else {
                phase
            },
        )
    }

    fn any(&self) -> Verdict {
        if self.find("Ready").is_some() {
            self.condition("Ready")
        } else if self.find("Available").is_some() {
            self.condition("Available")
        } else if self.conditions().is_empty() {
            verdict(true, "exists")
        } else {
            verdict(false, "has no condition Ready or Available")
        }
    }

    fn condition(&self, kind: &str) -> Verdict {
        match self.find(kind) {
            None => verdict(false, &format!("has no condition {kind} yet")),
            Some(_) if !self.is_fresh(kind) => verdict(false, "its change is not seen yet"),
            Some(_) if self.is_true(kind) => verdict(true, kind),
            Some(_) => verdict(false, &self.explanation(kind)),
        }
    }

    /// `Reason: message` of a condition, or what its status is.
    fn explanation(&self, kind: &str) -> String {
        let Some(condition) = self.find(kind) else {
            return String::new();
        };
        let part = |key: &str| {
            condition
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        match (part("reason"), part("message")) {
            ("", "") => format!("{kind} is {}", part("status")),
            (reason, "") => reason.to_owned(),
            ("", message) => message.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }

    fn is_true(&self, kind: &str) -> bool {
        let status = self
            .find(kind)
            .and_then(|condition| condition.get("status"));
        status.and_then(Value::as_str) == Some("True")
    }

    /// Whether the condition was told of the object as it is now; many do not say.
    fn is_fresh(&self, kind: &str) -> bool {
        let observed = self
            .find(kind)
            .and_then(|condition| condition.get("observedGeneration"));
        observed
            .and_then(Value::as_i64)
            .is_none_or(|observed| observed >= self.generation)
    }

    fn is_observed(&self) -> bool {
        self.number("/status/observedGeneration", 0) >= self.generation
    }

    fn find(&self, kind: &str) -> Option<&Value> {
        self.conditions().iter().find(|condition| {
            let own = condition.get("type").and_then(Value::as_str);
            own.is_some_and(|own| own.eq_ignore_ascii_case(kind))
        })
    }

    fn conditions(&self) -> &[Value] {
        let conditions = self
            .data
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        conditions.map(Vec::as_slice).unwrap_or_default()
    }

    fn number(&self, pointer: &str, default: i64) -> i64 {
        self.data
            .pointer(pointer)
            .and_then(Value::as_i64)
            .unwrap_or(default)
    }

    fn text(&self, pointer: &str) -> &str {
        self.data
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

fn verdict(met: bool, detail: &str) -> Verdict {
    Verdict {
        met,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests;
