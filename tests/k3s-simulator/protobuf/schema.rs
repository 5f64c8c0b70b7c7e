//! The messages that can be decoded: number and name of each field as the Kubernetes API has them.

pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

pub(super) struct Field {
    pub(super) number: u8,
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

#[derive(Clone, Copy)]
pub(super) enum Shape {
    Text,
    Texts,
    /// Absent when zero.
    Number,
    /// Present whenever it is on the wire, zero too.
    OptionalNumber,
    Flag,
    OptionalFlag,
    Object(&'static Message),
    Objects(&'static Message),
    /// Its fields belong to the message that holds it.
    Inline(&'static Message),
    TextMap,
    BytesMap,
    QuantityMap,
    IntOrString,
    /// Accepted only when it is not set: clients do not choose times.
    Time,
    /// What the server writes and a client's value of which does not count.
    Ignored,
}

use Shape::{
    BytesMap, Flag, Ignored, Inline, IntOrString, Number, Object, Objects, OptionalFlag,
    OptionalNumber, QuantityMap, Text, TextMap, Texts, Time,
};

pub(super) fn kind(name: &str) -> Option<&'static Message> {
    KINDS.iter().copied().find(|message| message.name == name)
}

const KINDS: &[&Message] = &[
    &CONFIG_MAP,
    &SECRET,
    &NAMESPACE,
    &SERVICE_ACCOUNT,
    &SERVICE,
    &POD,
    &DEPLOYMENT,
    &JOB,
    &CRON_JOB,
    &ROLE,
    &CLUSTER_ROLE,
    &ROLE_BINDING,
    &CLUSTER_ROLE_BINDING,
    &INGRESS,
    &DISRUPTION_BUDGET,
    &PRIORITY_CLASS,
    &ACCESS_REVIEW,
    &DELETE_OPTIONS,
];

const fn f(number: u8, name: &'static str, shape: Shape) -> Field {
    Field {
        number,
        name,
        shape,
    }
}

macro_rules! message {
    ($constant:ident, $name:literal, [$(($number:literal, $field:literal, $shape:expr)),* $(,)?]) => {
        static $constant: Message = Message { name: $name, fields: &[$(f($number, $field, $shape)),*] };
    };
}

message!(
    METADATA,
    "ObjectMeta",
    [
        (1, "name", Text),
        (2, "generateName", Text),
        (3, "namespace", Text),
        (4, "selfLink", Ignored),
        (5, "uid", Text),
        (6, "resourceVersion", Text),
        (7, "generation", Ignored),
        (8, "creationTimestamp", Time),
        (9, "deletionTimestamp", Time),
        (11, "labels", TextMap),
        (12, "annotations", TextMap),
        (13, "ownerReferences", Objects(&OWNER)),
        (14, "finalizers", Texts),
        (17, "managedFields", Ignored),
    ]
);
message!(
    OWNER,
    "OwnerReference",
    [
        (1, "kind", Text),
        (3, "name", Text),
        (4, "uid", Text),
        (5, "apiVersion", Text),
        (6, "controller", OptionalFlag),
        (7, "blockOwnerDeletion", OptionalFlag),
    ]
);
message!(
    SELECTOR,
    "LabelSelector",
    [
        (1, "matchLabels", TextMap),
        (2, "matchExpressions", Objects(&REQUIREMENT))
    ]
);
message!(
    REQUIREMENT,
    "LabelSelectorRequirement",
    [
        (1, "key", Text),
        (2, "operator", Text),
        (3, "values", Texts)
    ]
);
message!(
    DELETE_OPTIONS,
    "DeleteOptions",
    [
        (1, "gracePeriodSeconds", OptionalNumber),
        (2, "preconditions", Object(&PRECONDITIONS)),
        (3, "orphanDependents", OptionalFlag),
        (4, "propagationPolicy", Text),
        (5, "dryRun", Texts),
    ]
);
message!(
    PRECONDITIONS,
    "Preconditions",
    [(1, "uid", Text), (2, "resourceVersion", Text)]
);

message!(
    CONFIG_MAP,
    "ConfigMap",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "data", TextMap),
        (3, "binaryData", BytesMap),
        (4, "immutable", OptionalFlag),
    ]
);
message!(
    SECRET,
    "Secret",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "data", BytesMap),
        (3, "type", Text),
        (4, "stringData", TextMap),
        (5, "immutable", OptionalFlag),
    ]
);
message!(
    NAMESPACE,
    "Namespace",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Ignored),
        (3, "status", Ignored)
    ]
);
message!(
    SERVICE_ACCOUNT,
    "ServiceAccount",
    [
        (1, "metadata", Object(&METADATA)),
        (3, "imagePullSecrets", Objects(&LOCAL_REFERENCE)),
        (4, "automountServiceAccountToken", OptionalFlag),
    ]
);
message!(LOCAL_REFERENCE, "LocalObjectReference", [(1, "name", Text)]);
message!(
    SERVICE,
    "Service",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&SERVICE_SPEC)),
        (3, "status", Ignored),
    ]
);
message!(
    SERVICE_SPEC,
    "ServiceSpec",
    [
        (1, "ports", Objects(&SERVICE_PORT)),
        (2, "selector", TextMap),
        (3, "clusterIP", Text),
        (4, "type", Text),
        (5, "externalIPs", Texts),
        (7, "sessionAffinity", Text),
        (8, "loadBalancerIP", Text),
        (9, "loadBalancerSourceRanges", Texts),
        (10, "externalName", Text),
        (11, "externalTrafficPolicy", Text),
        (12, "healthCheckNodePort", Number),
        (13, "publishNotReadyAddresses", Flag),
        (17, "ipFamilyPolicy", Text),
        (18, "clusterIPs", Texts),
        (19, "ipFamilies", Texts),
        (20, "allocateLoadBalancerNodePorts", OptionalFlag),
        (21, "loadBalancerClass", Text),
        (22, "internalTrafficPolicy", Text),
        (23, "trafficDistribution", Text),
    ]
);
message!(
    SERVICE_PORT,
    "ServicePort",
    [
        (1, "name", Text),
        (2, "protocol", Text),
        (3, "port", Number),
        (4, "targetPort", IntOrString),
        (5, "nodePort", Number),
        (6, "appProtocol", Text),
    ]
);

message!(
    POD,
    "Pod",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&POD_SPEC)),
        (3, "status", Ignored)
    ]
);
message!(
    POD_TEMPLATE,
    "PodTemplateSpec",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&POD_SPEC))
    ]
);
message!(
    POD_SPEC,
    "PodSpec",
    [
        (2, "containers", Objects(&CONTAINER)),
        (3, "restartPolicy", Text),
        (4, "terminationGracePeriodSeconds", OptionalNumber),
        (5, "activeDeadlineSeconds", OptionalNumber),
        (6, "dnsPolicy", Text),
        (7, "nodeSelector", TextMap),
        (8, "serviceAccountName", Text),
        (9, "serviceAccount", Text),
        (10, "nodeName", Text),
        (11, "hostNetwork", Flag),
        (12, "hostPID", Flag),
        (13, "hostIPC", Flag),
        (14, "securityContext", Object(&EMPTY)),
        (15, "imagePullSecrets", Objects(&LOCAL_REFERENCE)),
        (16, "hostname", Text),
        (17, "subdomain", Text),
        (19, "schedulerName", Text),
        (20, "initContainers", Objects(&CONTAINER)),
        (21, "automountServiceAccountToken", OptionalFlag),
        (22, "tolerations", Objects(&TOLERATION)),
        (24, "priorityClassName", Text),
        (25, "priority", OptionalNumber),
        (29, "runtimeClassName", Text),
        (30, "enableServiceLinks", OptionalFlag),
        (31, "preemptionPolicy", Text),
    ]
);
message!(EMPTY, "SecurityContext", []);
message!(
    TOLERATION,
    "Toleration",
    [
        (1, "key", Text),
        (2, "operator", Text),
        (3, "value", Text),
        (4, "effect", Text),
        (5, "tolerationSeconds", OptionalNumber),
    ]
);
message!(
    CONTAINER,
    "Container",
    [
        (1, "name", Text),
        (2, "image", Text),
        (3, "command", Texts),
        (4, "args", Texts),
        (5, "workingDir", Text),
        (6, "ports", Objects(&CONTAINER_PORT)),
        (7, "env", Objects(&ENVIRONMENT)),
        (8, "resources", Object(&RESOURCES)),
        (13, "terminationMessagePath", Text),
        (14, "imagePullPolicy", Text),
        (15, "securityContext", Object(&EMPTY)),
        (16, "stdin", Flag),
        (17, "stdinOnce", Flag),
        (18, "tty", Flag),
        (20, "terminationMessagePolicy", Text),
    ]
);
message!(
    CONTAINER_PORT,
    "ContainerPort",
    [
        (1, "name", Text),
        (2, "hostPort", Number),
        (3, "containerPort", Number),
        (4, "protocol", Text),
        (5, "hostIP", Text),
    ]
);
message!(
    ENVIRONMENT,
    "EnvVar",
    [
        (1, "name", Text),
        (2, "value", Text),
        (3, "valueFrom", Object(&ENVIRONMENT_SOURCE))
    ]
);
message!(
    ENVIRONMENT_SOURCE,
    "EnvVarSource",
    [
        (1, "fieldRef", Object(&FIELD_REFERENCE)),
        (3, "configMapKeyRef", Object(&KEY_REFERENCE)),
        (4, "secretKeyRef", Object(&KEY_REFERENCE)),
    ]
);
message!(
    FIELD_REFERENCE,
    "ObjectFieldSelector",
    [(1, "apiVersion", Text), (2, "fieldPath", Text)]
);
message!(
    KEY_REFERENCE,
    "KeySelector",
    [
        (1, "", Inline(&LOCAL_REFERENCE)),
        (2, "key", Text),
        (3, "optional", OptionalFlag)
    ]
);
message!(
    RESOURCES,
    "ResourceRequirements",
    [(1, "limits", QuantityMap), (2, "requests", QuantityMap)]
);

message!(
    DEPLOYMENT,
    "Deployment",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&DEPLOYMENT_SPEC)),
        (3, "status", Ignored),
    ]
);
message!(
    DEPLOYMENT_SPEC,
    "DeploymentSpec",
    [
        (1, "replicas", OptionalNumber),
        (2, "selector", Object(&SELECTOR)),
        (3, "template", Object(&POD_TEMPLATE)),
        (4, "strategy", Object(&STRATEGY)),
        (5, "minReadySeconds", Number),
        (6, "revisionHistoryLimit", OptionalNumber),
        (7, "paused", Flag),
        (9, "progressDeadlineSeconds", OptionalNumber),
    ]
);
message!(
    STRATEGY,
    "DeploymentStrategy",
    [
        (1, "type", Text),
        (2, "rollingUpdate", Object(&ROLLING_UPDATE))
    ]
);
message!(
    ROLLING_UPDATE,
    "RollingUpdateDeployment",
    [
        (1, "maxUnavailable", IntOrString),
        (2, "maxSurge", IntOrString)
    ]
);

message!(
    JOB,
    "Job",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&JOB_SPEC)),
        (3, "status", Ignored)
    ]
);
message!(
    JOB_SPEC,
    "JobSpec",
    [
        (1, "parallelism", OptionalNumber),
        (2, "completions", OptionalNumber),
        (3, "activeDeadlineSeconds", OptionalNumber),
        (4, "selector", Object(&SELECTOR)),
        (5, "manualSelector", OptionalFlag),
        (6, "template", Object(&POD_TEMPLATE)),
        (7, "backoffLimit", OptionalNumber),
        (8, "ttlSecondsAfterFinished", OptionalNumber),
        (9, "completionMode", Text),
        (10, "suspend", OptionalFlag),
    ]
);
message!(
    CRON_JOB,
    "CronJob",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&CRON_JOB_SPEC)),
        (3, "status", Ignored),
    ]
);
message!(
    CRON_JOB_SPEC,
    "CronJobSpec",
    [
        (1, "schedule", Text),
        (2, "startingDeadlineSeconds", OptionalNumber),
        (3, "concurrencyPolicy", Text),
        (4, "suspend", OptionalFlag),
        (5, "jobTemplate", Object(&JOB_TEMPLATE)),
        (6, "successfulJobsHistoryLimit", OptionalNumber),
        (7, "failedJobsHistoryLimit", OptionalNumber),
        (8, "timeZone", Text),
    ]
);
message!(
    JOB_TEMPLATE,
    "JobTemplateSpec",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&JOB_SPEC))
    ]
);

message!(
    ROLE,
    "Role",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "rules", Objects(&RULE))
    ]
);
message!(
    CLUSTER_ROLE,
    "ClusterRole",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "rules", Objects(&RULE))
    ]
);
message!(
    RULE,
    "PolicyRule",
    [
        (1, "verbs", Texts),
        (2, "apiGroups", Texts),
        (3, "resources", Texts),
        (4, "resourceNames", Texts),
        (5, "nonResourceURLs", Texts),
    ]
);
message!(
    ROLE_BINDING,
    "RoleBinding",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "subjects", Objects(&SUBJECT)),
        (3, "roleRef", Object(&ROLE_REFERENCE)),
    ]
);
message!(
    CLUSTER_ROLE_BINDING,
    "ClusterRoleBinding",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "subjects", Objects(&SUBJECT)),
        (3, "roleRef", Object(&ROLE_REFERENCE)),
    ]
);
message!(
    SUBJECT,
    "Subject",
    [
        (1, "kind", Text),
        (2, "apiGroup", Text),
        (3, "name", Text),
        (4, "namespace", Text)
    ]
);
message!(
    ROLE_REFERENCE,
    "RoleRef",
    [(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)]
);

message!(
    INGRESS,
    "Ingress",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&INGRESS_SPEC)),
        (3, "status", Ignored),
    ]
);
message!(
    INGRESS_SPEC,
    "IngressSpec",
    [
        (1, "defaultBackend", Object(&BACKEND)),
        (2, "tls", Objects(&INGRESS_TLS)),
        (3, "rules", Objects(&INGRESS_RULE)),
        (4, "ingressClassName", Text),
    ]
);
message!(
    INGRESS_TLS,
    "IngressTLS",
    [(1, "hosts", Texts), (2, "secretName", Text)]
);
message!(
    INGRESS_RULE,
    "IngressRule",
    [(1, "host", Text), (2, "", Inline(&INGRESS_RULE_VALUE))]
);
message!(
    INGRESS_RULE_VALUE,
    "IngressRuleValue",
    [(1, "http", Object(&HTTP_RULE))]
);
message!(
    HTTP_RULE,
    "HTTPIngressRuleValue",
    [(1, "paths", Objects(&HTTP_PATH))]
);
message!(
    HTTP_PATH,
    "HTTPIngressPath",
    [
        (1, "path", Text),
        (2, "backend", Object(&BACKEND)),
        (3, "pathType", Text)
    ]
);
message!(
    BACKEND,
    "IngressBackend",
    [(4, "service", Object(&SERVICE_BACKEND))]
);
message!(
    SERVICE_BACKEND,
    "IngressServiceBackend",
    [(1, "name", Text), (2, "port", Object(&BACKEND_PORT))]
);
message!(
    BACKEND_PORT,
    "ServiceBackendPort",
    [(1, "name", Text), (2, "number", Number)]
);

message!(
    DISRUPTION_BUDGET,
    "PodDisruptionBudget",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&DISRUPTION_BUDGET_SPEC)),
        (3, "status", Ignored),
    ]
);
message!(
    DISRUPTION_BUDGET_SPEC,
    "PodDisruptionBudgetSpec",
    [
        (1, "minAvailable", IntOrString),
        (2, "selector", Object(&SELECTOR)),
        (3, "maxUnavailable", IntOrString),
    ]
);
message!(
    PRIORITY_CLASS,
    "PriorityClass",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "value", OptionalNumber),
        (3, "globalDefault", Flag),
        (4, "description", Text),
        (5, "preemptionPolicy", Text),
    ]
);
message!(
    ACCESS_REVIEW,
    "SelfSubjectAccessReview",
    [
        (1, "metadata", Object(&METADATA)),
        (2, "spec", Object(&ACCESS_REVIEW_SPEC)),
        (3, "status", Ignored),
    ]
);
message!(
    ACCESS_REVIEW_SPEC,
    "SelfSubjectAccessReviewSpec",
    [
        (1, "resourceAttributes", Object(&RESOURCE_ATTRIBUTES)),
        (2, "nonResourceAttributes", Object(&PATH_ATTRIBUTES)),
    ]
);
message!(
    RESOURCE_ATTRIBUTES,
    "ResourceAttributes",
    [
        (1, "namespace", Text),
        (2, "verb", Text),
        (3, "group", Text),
        (4, "version", Text),
        (5, "resource", Text),
        (6, "subresource", Text),
        (7, "name", Text),
    ]
);
message!(
    PATH_ATTRIBUTES,
    "NonResourceAttributes",
    [(1, "path", Text), (2, "verb", Text)]
);
