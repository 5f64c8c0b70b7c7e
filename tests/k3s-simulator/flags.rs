//! The flags of `k3s server`, and how a command line is taken apart.
//!
//! Every flag of the real server is known, so that a configuration written for k3s starts here too;
//! [`crate::options`] says which of them mean something to the simulator.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Switch,
    Text,
    List,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) alias: Option<&'static str>,
    pub(crate) kind: Kind,
    pub(crate) environment: Option<&'static str>,
}

/// The values given for each flag, in order; a switch has one value, `true` or `false`.
pub(crate) type Values = BTreeMap<&'static str, Vec<String>>;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FlagError {
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    #[error("flag needs an argument: -{0}")]
    NoArgument(String),
    #[error("invalid boolean value \"{value}\" for -{name}: give true or false")]
    NotBoolean { name: String, value: String },
    #[error("unexpected argument \"{0}\": the server takes flags only")]
    Positional(String),
}

pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS
        .iter()
        .find(|flag| flag.name == name || flag.alias == Some(name))
}

/// Takes arguments apart as Go's flag package does: `--flag value`, `--flag=value`, one dash or two.
pub(crate) fn parse(arguments: &[String]) -> Result<Values, FlagError> {
    let mut values = Values::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(body) = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
        else {
            return Err(FlagError::Positional(argument.clone()));
        };
        let (name, inline) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let flag = find(name).ok_or_else(|| FlagError::Unknown(name.to_owned()))?;
        let value = match (flag.kind, inline) {
            (Kind::Switch, inline) => boolean(flag.name, inline.as_deref().unwrap_or("true"))?,
            (_, Some(value)) => value,
            (_, None) => rest
                .next()
                .cloned()
                .ok_or_else(|| FlagError::NoArgument(name.to_owned()))?,
        };
        add(&mut values, flag, value);
    }
    Ok(values)
}

/// Adds to a list; replaces what a flag that is given once had before.
pub(crate) fn add(values: &mut Values, flag: &Flag, value: String) {
    let given = values.entry(flag.name).or_default();
    if flag.kind != Kind::List {
        given.clear();
    }
    given.push(value);
}

/// `true` or `false`, whatever spelling of Go's it came in.
pub(crate) fn boolean(name: &str, value: &str) -> Result<String, FlagError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".to_owned()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".to_owned()),
        _ => Err(FlagError::NotBoolean {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
    }
}

const fn switch(name: &'static str) -> Flag {
    Flag {
        name,
        alias: None,
        kind: Kind::Switch,
        environment: None,
    }
}

const fn text(name: &'static str) -> Flag {
    Flag {
        name,
        alias: None,
        kind: Kind::Text,
        environment: None,
    }
}

const fn list(name: &'static str) -> Flag {
    Flag {
        name,
        alias: None,
        kind: Kind::List,
        environment: None,
    }
}

const fn short(alias: &'static str, flag: Flag) -> Flag {
    Flag {
        alias: Some(alias),
        ..flag
    }
}

const fn from_environment(variable: &'static str, flag: Flag) -> Flag {
    Flag {
        environment: Some(variable),
        ..flag
    }
}

pub(crate) const FLAGS: &[Flag] = &[
    // What the simulator acts on.
    short("c", from_environment("K3S_CONFIG_FILE", text("config"))),
    short("i", list("node-ip")),
    from_environment("K3S_NODE_NAME", text("node-name")),
    list("node-label"),
    list("node-taint"),
    text("flannel-iface"),
    text("flannel-backend"),
    list("tls-san"),
    list("disable"),
    text("https-listen-port"),
    text("bind-address"),
    text("advertise-address"),
    short(
        "o",
        from_environment("K3S_KUBECONFIG_OUTPUT", text("write-kubeconfig")),
    ),
    from_environment("K3S_KUBECONFIG_MODE", text("write-kubeconfig-mode")),
    short("d", from_environment("K3S_DATA_DIR", text("data-dir"))),
    short("t", from_environment("K3S_TOKEN", text("token"))),
    from_environment("K3S_TOKEN_FILE", text("token-file")),
    from_environment("K3S_CLUSTER_INIT", switch("cluster-init")),
    from_environment("K3S_CLUSTER_RESET", switch("cluster-reset")),
    short("s", from_environment("K3S_URL", text("server"))),
    list("cluster-cidr"),
    list("service-cidr"),
    list("cluster-dns"),
    text("cluster-domain"),
    switch("disable-agent"),
    // The simulator's own.
    text("simulate-api-delay"),
    text("simulate-ready-delay"),
    text("simulate-node-delay"),
    text("simulate-node-ready-delay"),
    text("simulate-system-delay"),
    text("simulate-fail"),
    text("simulate-fail-times"),
    text("simulate-crash-after"),
    text("simulate-rotate-after"),
    text("simulate-hostile"),
    text("simulate-node-not-ready-after"),
    // Known and without effect here.
    switch("debug"),
    text("v"),
    text("vmodule"),
    short("l", text("log")),
    switch("alsologtostderr"),
    text("supervisor-port"),
    text("apiserver-port"),
    text("apiserver-bind-address"),
    text("advertise-port"),
    switch("tls-san-security"),
    text("service-node-port-range"),
    switch("flannel-ipv6-masq"),
    switch("flannel-external-ip"),
    text("flannel-conf"),
    text("flannel-cni-conf"),
    text("egress-selector-mode"),
    text("servicelb-namespace"),
    text("write-kubeconfig-group"),
    text("helm-job-image"),
    from_environment("K3S_AGENT_TOKEN", text("agent-token")),
    from_environment("K3S_AGENT_TOKEN_FILE", text("agent-token-file")),
    text("cluster-reset-restore-path"),
    list("kube-apiserver-arg"),
    list("etcd-arg"),
    list("kube-controller-manager-arg"),
    list("kube-scheduler-arg"),
    list("kube-cloud-controller-manager-arg"),
    list("kubelet-arg"),
    list("kube-proxy-arg"),
    text("kine-tls"),
    text("datastore-endpoint"),
    text("datastore-cafile"),
    text("datastore-certfile"),
    text("datastore-keyfile"),
    switch("etcd-expose-metrics"),
    switch("etcd-disable-snapshots"),
    text("etcd-snapshot-name"),
    text("etcd-snapshot-schedule-cron"),
    text("etcd-snapshot-reconcile-interval"),
    text("etcd-snapshot-retention"),
    text("etcd-snapshot-dir"),
    switch("etcd-snapshot-compress"),
    switch("etcd-s3"),
    text("etcd-s3-endpoint"),
    text("etcd-s3-endpoint-ca"),
    switch("etcd-s3-skip-ssl-verify"),
    text("etcd-s3-access-key"),
    text("etcd-s3-secret-key"),
    text("etcd-s3-session-token"),
    text("etcd-s3-bucket"),
    text("etcd-s3-bucket-lookup-type"),
    text("etcd-s3-region"),
    text("etcd-s3-folder"),
    text("etcd-s3-proxy"),
    text("etcd-s3-config-secret"),
    switch("etcd-s3-insecure"),
    text("etcd-s3-timeout"),
    text("etcd-s3-retention"),
    text("default-local-storage-path"),
    switch("disable-scheduler"),
    switch("disable-cloud-controller"),
    switch("disable-kube-proxy"),
    switch("disable-network-policy"),
    switch("disable-helm-controller"),
    switch("disable-apiserver"),
    switch("disable-controller-manager"),
    switch("disable-etcd"),
    switch("disable-default-registry-endpoint"),
    text("nonroot-devices"),
    switch("embedded-registry"),
    switch("supervisor-metrics"),
    switch("with-node-id"),
    list("node-internal-dns"),
    list("node-external-dns"),
    list("node-external-ip"),
    text("image-credential-provider-bin-dir"),
    text("image-credential-provider-config"),
    text("image-service-endpoint"),
    switch("docker"),
    text("container-runtime-endpoint"),
    text("default-runtime"),
    text("pause-image"),
    text("snapshotter"),
    text("private-registry"),
    list("airgap-extra-registry"),
    text("system-default-registry"),
    text("resolv-conf"),
    switch("protect-kernel-defaults"),
    switch("secrets-encryption"),
    text("secrets-encryption-provider"),
    switch("enable-pprof"),
    switch("rootless"),
    switch("prefer-bundled-bin"),
    switch("selinux"),
    text("lb-server-port"),
    text("vpn-auth"),
    text("vpn-auth-file"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Values, FlagError> {
        super::parse(
            &arguments
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn every_name_is_known_once() {
        let mut names: Vec<_> = FLAGS
            .iter()
            .flat_map(|flag| [Some(flag.name), flag.alias])
            .flatten()
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn forms_of_go_are_accepted() {
        let values = parse(&[
            "--node-ip",
            "10.0.0.1",
            "-i=10.0.0.2",
            "--cluster-init",
            "-data-dir=/a",
            "--data-dir",
            "/b",
        ])
        .unwrap();
        assert_eq!(values["node-ip"], ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(values["cluster-init"], ["true"]);
        assert_eq!(values["data-dir"], ["/b"]);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            parse(&["--nod-ip", "x"]).unwrap_err().to_string(),
            "flag provided but not defined: -nod-ip"
        );
        assert_eq!(
            parse(&["--node-ip"]).unwrap_err().to_string(),
            "flag needs an argument: -node-ip"
        );
        assert_eq!(
            parse(&["stray"]),
            Err(FlagError::Positional("stray".to_owned()))
        );
        assert!(parse(&["--cluster-init=perhaps"]).is_err());
    }
}
