//! What is waited for, checked before it becomes part of a URL.

use lkc_protocol::message::WatchObject;
use thiserror::Error;

use super::resource::Resource;

/// Bytes of a selector; longer ones are mistakes.
const MAX_SELECTOR_BYTES: usize = 1024;

/// Why objects cannot be waited for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WatchObjectError {
    /// A part of the request is not what such a part can be.
    #[error("{value:?} is no {part}")]
    Invalid {
        /// `resource`, `namespace`, `name`, `selector` or `condition`.
        part: &'static str,
        /// What it is, cut.
        value: String,
    },
    /// The API refuses it.
    #[error("the API refuses the request: {problem}")]
    Refused {
        /// Its words.
        problem: String,
    },
    /// The agent is about to end.
    #[error("the agent is stopping")]
    Stopping,
}

/// A checked request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) selector: Option<String>,
    pub(super) condition: Option<String>,
}

impl Request {
    pub(super) fn new(request: WatchObject) -> Result<Self, WatchObjectError> {
        let WatchObject {
            resource,
            namespace,
            name,
            selector,
            condition,
        } = request;
        let resource = resource.to_ascii_lowercase();
        check("resource", Some(&resource), 253, |byte| {
            is_name_byte(byte) || byte == b'.'
        })?;
        check("namespace", namespace.as_ref(), 63, is_name_byte)?;
        check("name", name.as_ref(), 253, |byte| {
            is_name_byte(byte) || matches!(byte, b'.' | b':')
        })?;
        check("selector", selector.as_ref(), MAX_SELECTOR_BYTES, |byte| {
            matches!(byte, b' '..=b'~')
        })?;
        check("condition", condition.as_ref(), 253, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'/' | b'_')
        })?;
        Ok(Self {
            resource,
            namespace,
            name,
            selector,
            condition,
        })
    }

    /// The namespace for kinds that have one.
    pub(super) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    /// `deployment kube-system/coredns`, `pods in default with app=web`.
    pub(super) fn what(&self, resource: &Resource) -> String {
        let mut text = match (&self.name, resource.namespaced) {
            (Some(name), true) => format!("{} {}/{name}", resource.singular, self.namespace()),
            (Some(name), false) => format!("{} {name}", resource.singular),
            (None, true) => format!("{} in {}", resource.kind.plural, self.namespace()),
            (None, false) => resource.kind.plural.clone(),
        };
        if let Some(selector) = &self.selector {
            text.push_str(" with ");
            text.push_str(selector);
        }
        text
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn check(
    part: &'static str,
    value: Option<&String>,
    max_bytes: usize,
    fits: impl Fn(u8) -> bool,
) -> Result<(), WatchObjectError> {
    match value {
        Some(value) if value.is_empty() || value.len() > max_bytes || !value.bytes().all(fits) => {
            Err(WatchObjectError::Invalid {
                part,
                value: value.chars().take(80).collect(),
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut WatchObject)) -> String {
        let mut request = WatchObject {
            resource: "pods".to_owned(),
            namespace: None,
            name: None,
            selector: None,
            condition: None,
        };
        change(&mut request);
        Request::new(request)
            .expect_err("must not be accepted")
            .to_string()
    }

    #[test]
    fn nothing_gets_into_a_url_that_is_no_name() {
        assert_eq!(
            problem(|request| request.resource = "pods/../secrets".to_owned()),
            "\"pods/../secrets\" is no resource"
        );
        assert_eq!(
            problem(|request| request.resource = String::new()),
            "\"\" is no resource"
        );
        assert_eq!(
            problem(|request| request.namespace = Some("a/b".to_owned())),
            "\"a/b\" is no namespace"
        );
        assert_eq!(
            problem(|request| request.name = Some("a,b=c".to_owned())),
            "\"a,b=c\" is no name"
        );
        assert_eq!(
            problem(|request| request.selector = Some("a=\u{1b}".to_owned())),
            "\"a=\\u{1b}\" is no selector"
        );
        assert_eq!(
            problem(|request| request.condition = Some("a b".to_owned())),
            "\"a b\" is no condition"
        );
    }
}
