//! The kinds that the API serves: a table of built-in ones, and those of CustomResourceDefinitions.

use serde_json::Value;

use crate::object;
use crate::store::Store;

pub(crate) const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) subresources: Vec<String>,
    /// `additionalPrinterColumns` of a custom resource.
    pub(crate) printer_columns: Vec<Value>,
    pub(crate) custom: bool,
}

pub(crate) const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

impl Resource {
    /// The name under which objects are stored: `pods`, `deployments.apps`.
    pub(crate) fn id(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn has(&self, subresource: &str) -> bool {
        self.subresources.iter().any(|name| name == subresource)
    }
}

/// Everything served now, built-in kinds first, in a stable order.
pub(crate) fn all(store: &Store) -> Vec<Resource> {
    let mut resources: Vec<_> = BUILT_IN.iter().map(Row::resource).collect();
    for (_, definition) in store.list(CRDS, None) {
        resources.extend(custom(definition));
    }
    resources
}

pub(crate) fn find(store: &Store, group: &str, version: &str, plural: &str) -> Option<Resource> {
    let built_in = BUILT_IN
        .iter()
        .find(|row| row.group == group && row.version == version && row.plural == plural);
    built_in.map(Row::resource).or_else(|| {
        let key = crate::store::Key::new(CRDS, "", &format!("{plural}.{group}"));
        custom(store.object(&key)?)
            .into_iter()
            .find(|resource| resource.version == version)
    })
}

/// The served versions of a definition.
fn custom(definition: &Value) -> Vec<Resource> {
    let names = |field: &str| -> Vec<String> {
        let pointer = format!("/spec/names/{field}");
        object::items(definition, &pointer)
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let kind = object::text(definition, "/spec/names/kind");
    let singular = match object::text(definition, "/spec/names/singular") {
        "" => kind.to_lowercase(),
        singular => singular.to_owned(),
    };
    object::items(definition, "/spec/versions")
        .iter()
        .filter(|version| version.get("served") == Some(&Value::Bool(true)))
        .map(|version| Resource {
            group: object::text(definition, "/spec/group").to_owned(),
            version: object::text(version, "/name").to_owned(),
            plural: object::text(definition, "/spec/names/plural").to_owned(),
            singular: singular.clone(),
            kind: kind.to_owned(),
            short_names: names("shortNames"),
            categories: names("categories"),
            namespaced: object::text(definition, "/spec/scope") == "Namespaced",
            subresources: if version.pointer("/subresources/status").is_some() {
                vec!["status".to_owned()]
            } else {
                Vec::new()
            },
            printer_columns: object::items(version, "/additionalPrinterColumns").to_vec(),
            custom: true,
        })
        .collect()
}

struct Row {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    short_names: &'static [&'static str],
    namespaced: bool,
    subresources: &'static [&'static str],
}

impl Row {
    fn resource(&self) -> Resource {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let in_all = [
            "pods",
            "services",
            "deployments",
            "replicasets",
            "statefulsets",
            "daemonsets",
            "jobs",
            "cronjobs",
        ];
        Resource {
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            plural: self.plural.to_owned(),
            singular: self.kind.to_lowercase(),
            kind: self.kind.to_owned(),
            short_names: owned(self.short_names),
            categories: if in_all.contains(&self.plural) {
                vec!["all".to_owned()]
            } else {
                Vec::new()
            },
            namespaced: self.namespaced,
            subresources: owned(self.subresources),
            printer_columns: Vec::new(),
            custom: false,
        }
    }
}

const fn namespaced(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short_names: &'static [&'static str],
    subresources: &'static [&'static str],
) -> Row {
    Row {
        group,
        version: "v1",
        plural,
        kind,
        short_names,
        namespaced: true,
        subresources,
    }
}

const fn cluster(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short_names: &'static [&'static str],
    subresources: &'static [&'static str],
) -> Row {
    Row {
        group,
        version: "v1",
        plural,
        kind,
        short_names,
        namespaced: false,
        subresources,
    }
}

const BUILT_IN: &[Row] = &[
    namespaced("", "configmaps", "ConfigMap", &["cm"], &[]),
    namespaced("", "endpoints", "Endpoints", &["ep"], &[]),
    namespaced("", "events", "Event", &["ev"], &[]),
    cluster(
        "",
        "namespaces",
        "Namespace",
        &["ns"],
        &["finalize", "status"],
    ),
    cluster("", "nodes", "Node", &["no"], &["status"]),
    namespaced(
        "",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        &["pvc"],
        &["status"],
    ),
    cluster(
        "",
        "persistentvolumes",
        "PersistentVolume",
        &["pv"],
        &["status"],
    ),
    namespaced(
        "",
        "pods",
        "Pod",
        &["po"],
        &["attach", "eviction", "exec", "log", "portforward", "status"],
    ),
    namespaced("", "secrets", "Secret", &[], &[]),
    namespaced("", "serviceaccounts", "ServiceAccount", &["sa"], &[]),
    namespaced("", "services", "Service", &["svc"], &["status"]),
    cluster(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        &["crd", "crds"],
        &["status"],
    ),
    namespaced("apps", "daemonsets", "DaemonSet", &["ds"], &["status"]),
    namespaced(
        "apps",
        "deployments",
        "Deployment",
        &["deploy"],
        &["scale", "status"],
    ),
    namespaced(
        "apps",
        "replicasets",
        "ReplicaSet",
        &["rs"],
        &["scale", "status"],
    ),
    namespaced(
        "apps",
        "statefulsets",
        "StatefulSet",
        &["sts"],
        &["scale", "status"],
    ),
    namespaced("batch", "cronjobs", "CronJob", &["cj"], &["status"]),
    namespaced("batch", "jobs", "Job", &[], &["status"]),
    namespaced("coordination.k8s.io", "leases", "Lease", &[], &[]),
    cluster(
        "networking.k8s.io",
        "ingressclasses",
        "IngressClass",
        &[],
        &[],
    ),
    namespaced(
        "networking.k8s.io",
        "ingresses",
        "Ingress",
        &["ing"],
        &["status"],
    ),
    namespaced(
        "networking.k8s.io",
        "networkpolicies",
        "NetworkPolicy",
        &["netpol"],
        &[],
    ),
    namespaced(
        "policy",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        &["pdb"],
        &["status"],
    ),
    cluster(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "ClusterRoleBinding",
        &[],
        &[],
    ),
    cluster(
        "rbac.authorization.k8s.io",
        "clusterroles",
        "ClusterRole",
        &[],
        &[],
    ),
    namespaced(
        "rbac.authorization.k8s.io",
        "rolebindings",
        "RoleBinding",
        &[],
        &[],
    ),
    namespaced("rbac.authorization.k8s.io", "roles", "Role", &[], &[]),
    cluster(
        "scheduling.k8s.io",
        "priorityclasses",
        "PriorityClass",
        &["pc"],
        &[],
    ),
    cluster(
        "storage.k8s.io",
        "storageclasses",
        "StorageClass",
        &["sc"],
        &[],
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Key;

    #[test]
    fn built_in_kinds_are_found_by_their_path() {
        let store = Store::new(0, 1);
        let deployments = find(&store, "apps", "v1", "deployments").unwrap();
        assert_eq!(
            (
                deployments.id().as_str(),
                deployments.api_version().as_str()
            ),
            ("deployments.apps", "apps/v1")
        );
        assert_eq!(find(&store, "", "v1", "nodes").unwrap().id(), "nodes");
        assert!(find(&store, "apps", "v1beta1", "deployments").is_none());
    }

    #[test]
    fn a_definition_adds_its_served_versions() {
        let mut store = Store::new(0, 8);
        let definition = json!({
            "metadata": {"name": "widgets.example.org"},
            "spec": {
                "group": "example.org",
                "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
                "versions": [{"name": "v1", "served": true}, {"name": "v0", "served": false}],
            },
        });
        store.put(Key::new(CRDS, "", "widgets.example.org"), definition);
        let widget = find(&store, "example.org", "v1", "widgets").unwrap();
        assert!(widget.namespaced && widget.custom);
        assert_eq!(
            (widget.singular.as_str(), widget.short_names.as_slice()),
            ("widget", &["wd".to_owned()][..])
        );
        assert!(find(&store, "example.org", "v0", "widgets").is_none());
        assert_eq!(
            all(&store)
                .iter()
                .filter(|resource| resource.custom)
                .count(),
            1
        );
    }
}
