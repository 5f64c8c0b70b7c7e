//! Which kinds there are: aggregated discovery for clients of today, group by group for older ones.

use serde_json::{Value, json};

use crate::resources::{Resource, VERBS};

/// The version of aggregated discovery that an `Accept` header asks for.
pub(crate) fn aggregated_version(accept: &str) -> Option<&'static str> {
    let wanted = accept.split(',').map(str::trim).find(|offered| {
        offered.starts_with("application/json")
            && offered.contains("g=apidiscovery.k8s.io")
            && offered.contains("as=APIGroupDiscoveryList")
    })?;
    let version = |name: &str| {
        wanted
            .split(';')
            .any(|part| part.trim() == format!("v={name}"))
    };
    if version("v2") {
        Some("v2")
    } else if version("v2beta1") {
        Some("v2beta1")
    } else {
        None
    }
}

/// The content type tells the client that it got what it asked for.
pub(crate) fn content_type(version: &str) -> &'static str {
    match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    }
}

pub(crate) fn aggregated(resources: &[Resource], is_core: bool, version: &str) -> Value {
    let items: Vec<_> = group_names(resources, is_core)
        .into_iter()
        .map(|group| {
            let versions: Vec<_> = versions(resources, group)
                .into_iter()
                .map(|version| {
                    let listed: Vec<_> = of(resources, group, version)
                        .map(aggregated_resource)
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": listed})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(resource: &Resource) -> Value {
    let response = |kind: &str, group: &str, version: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": response(&resource.kind, &resource.group, &resource.version),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": VERBS,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let listed: Vec<_> = resource
            .subresources
            .iter()
            .map(|name| {
                let (kind, group, version) = subresource_kind(resource, name);
                json!({"subresource": name, "responseKind": response(kind, group, version), "verbs": subresource_verbs(name)})
            })
            .collect();
        entry["subresources"] = Value::Array(listed);
    }
    entry
}

pub(crate) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

pub(crate) fn groups(resources: &[Resource]) -> Value {
    let groups: Vec<_> = group_names(resources, false)
        .into_iter()
        .map(|group| group_entry(resources, group))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(crate) fn group(resources: &[Resource], group: &str) -> Option<Value> {
    let is_known = !group.is_empty() && resources.iter().any(|resource| resource.group == group);
    is_known.then(|| {
        let mut entry = group_entry(resources, group);
        entry["kind"] = json!("APIGroup");
        entry["apiVersion"] = json!("v1");
        entry
    })
}

fn group_entry(resources: &[Resource], group: &str) -> Value {
    let versions: Vec<_> = versions(resources, group)
        .into_iter()
        .map(|version| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

pub(crate) fn resource_list(resources: &[Resource], group: &str, version: &str) -> Option<Value> {
    let mut listed = Vec::new();
    for resource in of(resources, group, version) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": VERBS,
        });
        if !resource.short_names.is_empty() {
            entry["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            entry["categories"] = json!(resource.categories);
        }
        listed.push(entry);
        for name in &resource.subresources {
            let (kind, kind_group, kind_version) = subresource_kind(resource, name);
            listed.push(json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "group": kind_group,
                "version": kind_version,
                "kind": kind,
                "verbs": subresource_verbs(name),
            }));
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (!listed.is_empty())
        .then(|| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}))
}

fn subresource_kind<'a>(resource: &'a Resource, subresource: &str) -> (&'a str, &'a str, &'a str) {
    match subresource {
        "scale" => ("Scale", "autoscaling", "v1"),
        "eviction" => ("Eviction", "policy", "v1"),
        "exec" => ("PodExecOptions", "", "v1"),
        "attach" => ("PodAttachOptions", "", "v1"),
        "portforward" => ("PodPortForwardOptions", "", "v1"),
        _ => (&resource.kind, &resource.group, &resource.version),
    }
}

fn subresource_verbs(subresource: &str) -> &'static [&'static str] {
    match subresource {
        "log" => &["get"],
        "exec" | "attach" | "portforward" => &["create", "get"],
        "eviction" => &["create"],
        "finalize" => &["update"],
        _ => &["get", "patch", "update"],
    }
}

fn of<'a>(
    resources: &'a [Resource],
    group: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a Resource> {
    resources
        .iter()
        .filter(move |resource| resource.group == group && resource.version == version)
}

fn group_names(resources: &[Resource], is_core: bool) -> Vec<&str> {
    distinct(
        resources
            .iter()
            .map(|resource| resource.group.as_str())
            .filter(|group| group.is_empty() == is_core),
    )
}

fn versions<'a>(resources: &'a [Resource], group: &'a str) -> Vec<&'a str> {
    distinct(
        resources
            .iter()
            .filter(|resource| resource.group == group)
            .map(|resource| resource.version.as_str()),
    )
}

/// In the order of their first appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources;
    use crate::store::Store;

    #[test]
    fn aggregated_discovery_is_given_to_who_asks() {
        let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_version(accept), Some("v2"));
        assert_eq!(aggregated_version("application/json, */*"), None);
    }

    #[test]
    fn every_kind_is_in_both_forms_once() {
        let resources = resources::all(&Store::new(0, 1));
        let mut aggregated_names = Vec::new();
        for is_core in [true, false] {
            let document = aggregated(&resources, is_core, "v2");
            for group in document["items"].as_array().unwrap() {
                for version in group["versions"].as_array().unwrap() {
                    aggregated_names.extend(
                        version["resources"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .map(|entry| entry["resource"].as_str().unwrap().to_owned()),
                    );
                }
            }
        }
        let mut listed_names: Vec<String> = Vec::new();
        for group in std::iter::once("").chain(group_names(&resources, false)) {
            let document = resource_list(&resources, group, "v1").unwrap();
            let entries = document["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["name"].as_str().unwrap().to_owned());
            listed_names.extend(entries.filter(|name| !name.contains('/')));
        }
        assert_eq!(aggregated_names, listed_names);
        assert_eq!(listed_names.len(), resources.len());
    }

    #[test]
    fn unknown_groups_are_absent() {
        let resources = resources::all(&Store::new(0, 1));
        assert!(resource_list(&resources, "apps", "v2").is_none());
        assert!(group(&resources, "nope").is_none());
        assert_eq!(
            group(&resources, "apps").unwrap()["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
    }
}
