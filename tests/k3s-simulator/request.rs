//! A request, taken apart: which object or collection of which kind it is about, and in which form
//! its sender wants the answer.

use crate::status::ApiError;

/// What arrived, without its connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) accept: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1" | ""))
    }
}

/// The parts of `/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME/SUBRESOURCE`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) plural: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) subresource: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// None when the path is not one of a resource.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            // The status and finalize subresources of a namespace look like a resource in it.
            ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, None, None),
            [plural, name] => (*plural, Some(*name), None),
            [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
            _ => return None,
        };
        Some(Self {
            group,
            version,
            namespace,
            plural,
            name,
            subresource,
        })
    }
}

/// How objects are shown to the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Table { version: String, include: Include },
    Metadata { version: String },
}

/// What the rows of a table carry beside their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Form {
    /// The first form of the `Accept` header that is served here; protobuf is passed over.
    pub(crate) fn of(request: &Request) -> Result<Self, ApiError> {
        if request.accept.trim().is_empty() {
            return Ok(Self::Plain);
        }
        for offered in request.accept.split(',') {
            let mut parts = offered.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !matches!(media, "application/json" | "application/*" | "*/*") {
                continue;
            }
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                parameters
                    .iter()
                    .find(|(key, _)| *key == name)
                    .map(|(_, value)| *value)
            };
            let is_meta = parameter("g") == Some("meta.k8s.io")
                && matches!(parameter("v"), Some("v1" | "v1beta1"));
            let version = parameter("v").unwrap_or("v1").to_owned();
            match parameter("as") {
                None => return Ok(Self::Plain),
                Some("Table") if is_meta => {
                    let include = match request.parameter("includeObject") {
                        Some("None") => Include::Nothing,
                        Some("Object") => Include::Object,
                        _ => Include::Metadata,
                    };
                    return Ok(Self::Table { version, include });
                }
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if is_meta => {
                    return Ok(Self::Metadata { version });
                }
                Some(_) => {}
            }
        }
        Err(ApiError::not_acceptable())
    }
}

/// Decodes `a=b&c=d`, with percent and plus escapes; a broken escape stays as it is written.
pub(crate) fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key, true), unescape(value, true))
        })
        .collect()
}

pub(crate) fn unescape(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, escaped) {
            (_, Some(value)) => {
                decoded.push(value);
                at += 3;
                continue;
            }
            (b'+', None) if plus_is_space => decoded.push(b' '),
            (other, None) => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_targets() {
        let target = |path| Target::parse(path).unwrap();
        let nodes = target("/api/v1/nodes");
        assert_eq!(
            (nodes.plural, nodes.name, nodes.namespace),
            ("nodes", None, None)
        );
        let namespace = target("/api/v1/namespaces/a");
        assert_eq!(
            (namespace.plural, namespace.name, namespace.namespace),
            ("namespaces", Some("a"), None)
        );
        let pods = target("/api/v1/namespaces/a/pods");
        assert_eq!(
            (pods.plural, pods.name, pods.namespace),
            ("pods", None, Some("a"))
        );
        let scale = target("/apis/apps/v1/namespaces/a/deployments/d/scale");
        assert_eq!(
            (scale.group, scale.name, scale.subresource),
            ("apps", Some("d"), Some("scale"))
        );
        let status = target("/api/v1/namespaces/a/status");
        assert_eq!(
            (status.plural, status.name, status.subresource),
            ("namespaces", Some("a"), Some("status"))
        );
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis/apps/v1",
            "/metrics",
            "/api/v1/a/b/c/d",
        ] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }

    #[test]
    fn the_first_form_that_is_served_is_taken() {
        let form = |accept: &str| {
            Form::of(&Request {
                accept: accept.to_owned(),
                ..Request::default()
            })
        };
        assert_eq!(form("").unwrap(), Form::Plain);
        assert_eq!(
            form("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            Form::Plain
        );
        assert_eq!(
            form("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json").unwrap(),
            Form::Table {
                version: "v1beta1".to_owned(),
                include: Include::Metadata
            }
        );
        assert!(matches!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").unwrap(),
            Form::Metadata { .. }
        ));
        assert_eq!(
            form("application/json;as=Pie;v=v1;g=meta.k8s.io,*/*").unwrap(),
            Form::Plain
        );
        assert_eq!(
            form("application/vnd.kubernetes.protobuf")
                .unwrap_err()
                .code,
            406
        );
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_kept() {
        assert_eq!(
            parse_query("labelSelector=a%3Db%2Cc&x=1+2&y&z=%zz%4"),
            [
                ("labelSelector", "a=b,c"),
                ("x", "1 2"),
                ("y", ""),
                ("z", "%zz%4")
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }
}
