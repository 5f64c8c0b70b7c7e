//! Label and field selectors, as list and watch take them.

use serde_json::Value;

#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug)]
struct LabelTerm {
    key: String,
    test: LabelTest,
}

#[derive(Clone, Debug)]
enum LabelTest {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Clone, Debug)]
struct FieldTerm {
    path: String,
    value: String,
    negated: bool,
}

/// The sentence for a `BadRequest`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unable to parse requirement: {0}")]
pub(crate) struct SelectorError(String);

impl Selector {
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, SelectorError> {
        Ok(Self {
            labels: split_terms(labels)
                .into_iter()
                .map(label_term)
                .collect::<Result<_, _>>()?,
            fields: fields
                .split(',')
                .filter(|term| !term.is_empty())
                .map(field_term)
                .collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let label = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .and_then(Value::as_str)
        };
        self.labels
            .iter()
            .all(|term| term.test.accepts(label(&term.key)))
            && self
                .fields
                .iter()
                .all(|term| (field(object, &term.path) == term.value) != term.negated)
    }
}

impl LabelTest {
    fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => {
                value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            Self::NotIn(values) => {
                value.is_none_or(|value| values.iter().all(|other| other != value))
            }
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
        }
    }
}

/// Whether the labels match a `LabelSelector` as objects carry it (`matchLabels`, `matchExpressions`).
pub(crate) fn label_selector_matches(selector: &Value, labels: Option<&Value>) -> bool {
    let label = |key: &str| {
        labels
            .and_then(|labels| labels.get(key))
            .and_then(Value::as_str)
    };
    let by_label = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .is_none_or(|wanted| {
            wanted
                .iter()
                .all(|(key, value)| label(key) == value.as_str())
        });
    let by_expression = selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .is_none_or(|terms| {
            terms.iter().all(|term| {
                let value = label(term.get("key").and_then(Value::as_str).unwrap_or_default());
                let values = || {
                    let values = term.get("values").and_then(Value::as_array);
                    values
                        .into_iter()
                        .flatten()
                        .filter_map(Value::as_str)
                        .map(str::to_owned)
                        .collect()
                };
                match term.get("operator").and_then(Value::as_str) {
                    Some("In") => LabelTest::In(values()).accepts(value),
                    Some("NotIn") => LabelTest::NotIn(values()).accepts(value),
                    Some("Exists") => LabelTest::Exists.accepts(value),
                    Some("DoesNotExist") => LabelTest::Absent.accepts(value),
                    _ => false,
                }
            })
        });
    by_label && by_expression
}

/// Splits at commas that are not inside the parentheses of a set.
fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut depth, mut start) = (0_i32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
        .into_iter()
        .map(str::trim)
        .filter(|term| !term.is_empty())
        .collect()
}

fn label_term(text: &str) -> Result<LabelTerm, SelectorError> {
    let bad = || SelectorError(text.to_owned());
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    let (key, test) = if let Some((head, set)) = text.split_once('(') {
        let set = set.strip_suffix(')').ok_or_else(bad)?;
        let values = set
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        match head.split_whitespace().collect::<Vec<_>>()[..] {
            [key, "in"] => (key.to_owned(), LabelTest::In(values)),
            [key, "notin"] => (key.to_owned(), LabelTest::NotIn(values)),
            _ => return Err(bad()),
        }
    } else if let Some((key, value)) = text.split_once("!=") {
        let (key, values) = one(key, value);
        (key, LabelTest::NotIn(values))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        let (key, values) = one(key, value);
        (key, LabelTest::In(values))
    } else if let Some(key) = text.strip_prefix('!') {
        (key.trim().to_owned(), LabelTest::Absent)
    } else {
        (text.to_owned(), LabelTest::Exists)
    };
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(bad());
    }
    Ok(LabelTerm { key, test })
}

fn field_term(text: &str) -> Result<FieldTerm, SelectorError> {
    let (path, value, negated) = if let Some((path, value)) = text.split_once("!=") {
        (path, value, true)
    } else if let Some((path, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (path, value, false)
    } else {
        return Err(SelectorError(text.to_owned()));
    };
    Ok(FieldTerm {
        path: path.trim().to_owned(),
        value: value.trim().to_owned(),
        negated,
    })
}

/// An absent field is the empty string, as with the real server.
fn field<'a>(object: &'a Value, path: &str) -> &'a str {
    let found = path
        .split('.')
        .try_fold(object, |value, name| value.get(name));
    found.and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(labels: &str, fields: &str) -> bool {
        let object = json!({
            "metadata": {"name": "x", "labels": {"app": "web", "tier": "front"}},
            "spec": {"nodeName": "n1"},
            "status": {"phase": "Running"},
        });
        Selector::parse(labels, fields).unwrap().matches(&object)
    }

    #[test]
    fn labels_are_tested_by_equality_and_by_set() {
        for labels in [
            "",
            "app=web",
            "app==web,tier",
            "app!=db",
            "missing!=x",
            "app in (db, web),tier notin (back)",
            "!missing",
        ] {
            assert!(matches(labels, ""), "{labels}");
        }
        for labels in [
            "app=db",
            "app=web,tier=back",
            "missing",
            "!app",
            "app notin (web)",
            "missing in (a)",
        ] {
            assert!(!matches(labels, ""), "{labels}");
        }
    }

    #[test]
    fn fields_are_tested_by_path() {
        assert!(matches(
            "",
            "metadata.name=x,spec.nodeName==n1,status.phase!=Failed"
        ));
        assert!(matches("", "metadata.namespace="));
        assert!(!matches("", "status.phase!=Running"));
        assert!(!matches("", "metadata.name=y"));
    }

    #[test]
    fn nonsense_is_refused() {
        for labels in ["app in (web", "a b", "=x", "app within (x)"] {
            assert!(Selector::parse(labels, "").is_err(), "{labels}");
        }
        assert!(Selector::parse("", "metadata.name").is_err());
    }

    #[test]
    fn selectors_of_objects_match_labels_and_expressions() {
        let selector = json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["2"]}]});
        assert!(label_selector_matches(
            &selector,
            Some(&json!({"a": "1", "b": "2"}))
        ));
        assert!(!label_selector_matches(
            &selector,
            Some(&json!({"a": "1", "b": "3"}))
        ));
        assert!(!label_selector_matches(&selector, None));
    }
}
