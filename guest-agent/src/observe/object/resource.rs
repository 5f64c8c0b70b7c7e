//! From what a person calls a kind to where the API has it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResource, APIResourceList};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

use super::DISCOVERY_DEADLINE;
use super::request::Request;

/// A kind that the API serves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Resource {
    pub(super) kind: ApiResource,
    pub(super) singular: String,
    pub(super) namespaced: bool,
}

/// Finds the kind: the core group first, then the others in the server's order. A group can be
/// named behind the resource, `gateways.gateway.networking.k8s.io`. None when nothing fits now.
pub(super) async fn resolve(
    client: &Client,
    request: &Request,
) -> Result<Option<Resource>, kube::Error> {
    let (name, group) = match request.resource.split_once('.') {
        Some((name, group)) => (name, Some(group)),
        None => (request.resource.as_str(), None),
    };
    if group.is_none() {
        let core = deadline(client.list_core_api_resources("v1")).await?;
        if let Some(found) = find(&core, "", "v1", name) {
            return Ok(Some(found));
        }
    }
    for served in deadline(client.list_api_groups()).await?.groups {
        if group.is_some_and(|group| group != served.name) {
            continue;
        }
        let Some((version, group_version)) = preferred(&served) else {
            continue;
        };
        // An aggregated API that is away must not hide the groups behind it.
        let Ok(resources) = deadline(client.list_api_group_resources(&group_version)).await else {
            continue;
        };
        if let Some(found) = find(&resources, &served.name, &version, name) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn deadline<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match tokio::time::timeout(DISCOVERY_DEADLINE, request).await {
        Ok(result) => result,
        Err(elapsed) => Err(kube::Error::Service(Box::new(elapsed))),
    }
}

fn preferred(group: &APIGroup) -> Option<(String, String)> {
    let version = group
        .preferred_version
        .as_ref()
        .or_else(|| group.versions.first())?;
    Some((version.version.clone(), version.group_version.clone()))
}

fn find(list: &APIResourceList, group: &str, version: &str, name: &str) -> Option<Resource> {
    let found = list
        .resources
        .iter()
        .find(|resource| is_called(resource, name))?;
    let kind = GroupVersionKind::gvk(group, version, &found.kind);
    let singular = match found.singular_name.as_str() {
        "" => found.kind.to_ascii_lowercase(),
        singular => singular.to_owned(),
    };
    Some(Resource {
        kind: ApiResource::from_gvk_with_plural(&kind, &found.name),
        singular,
        namespaced: found.namespaced,
    })
}

/// Subresources, which have a slash, are not meant.
fn is_called(resource: &APIResource, name: &str) -> bool {
    !resource.name.contains('/')
        && (resource.name == name
            || resource.singular_name == name
            || resource.kind.eq_ignore_ascii_case(name)
            || resource
                .short_names
                .iter()
                .flatten()
                .any(|short| short == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_each_of_its_names() {
        let list: APIResourceList = serde_json::from_value(serde_json::json!({
            "groupVersion": "apps/v1",
            "resources": [
                {"name": "deployments/status", "singularName": "", "namespaced": true, "kind": "Deployment", "verbs": []},
                {"name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment", "shortNames": ["deploy"], "verbs": []},
                {"name": "things", "singularName": "", "namespaced": false, "kind": "BigThing", "verbs": []},
            ],
        }))
        .unwrap();
        for name in ["deployments", "deployment", "deploy"] {
            let found = find(&list, "apps", "v1", name).unwrap();
            assert_eq!(
                (found.kind.plural.as_str(), found.kind.api_version.as_str()),
                ("deployments", "apps/v1")
            );
            assert!(found.namespaced);
        }
        let thing = find(&list, "apps", "v1", "bigthing").unwrap();
        assert_eq!(
            (thing.singular.as_str(), thing.namespaced),
            ("bigthing", false)
        );
        assert_eq!(find(&list, "apps", "v1", "nothing"), None);
    }
}
