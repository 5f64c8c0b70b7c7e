//! What one run of the server is to do, from the command line, the environment and k3s' files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::config::{self, ConfigError};
use crate::flags::{self, FLAGS, FlagError, Values};
use crate::script::{Hostile, Script};

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) node_name: Option<String>,
    pub(crate) node_ips: Vec<IpAddr>,
    pub(crate) node_labels: Vec<(String, String)>,
    pub(crate) flannel_interface: Option<String>,
    /// False with `--flannel-backend=none`: the node waits for a CNI that someone installs.
    pub(crate) has_cni: bool,
    pub(crate) tls_sans: Vec<String>,
    pub(crate) disabled: Vec<String>,
    pub(crate) port: u16,
    pub(crate) bind_address: Option<IpAddr>,
    pub(crate) advertise_address: Option<IpAddr>,
    pub(crate) kubeconfig_path: PathBuf,
    pub(crate) kubeconfig_mode: u32,
    pub(crate) data_dir: PathBuf,
    pub(crate) token: Option<String>,
    /// The server to join; the simulator runs a cluster of its own all the same.
    pub(crate) join: Option<String>,
    pub(crate) embedded_etcd: bool,
    pub(crate) cluster_cidr: String,
    pub(crate) service_cidr: String,
    pub(crate) cluster_domain: String,
    pub(crate) script: Script,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error(transparent)]
    Flag(#[from] FlagError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("invalid value \"{value}\" for flag -{name}: {reason}")]
    Value {
        name: &'static str,
        value: String,
        reason: String,
    },
    #[error("cannot read the token file {path}")]
    TokenFile {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Reads everything that `k3s server ARGUMENTS` would read.
///
/// # Errors
/// An unknown flag or key, a value that its flag does not take, or a file that cannot be read.
pub(crate) fn read(
    arguments: &[String],
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Options, OptionsError> {
    let mut given = flags::parse(arguments)?;
    for flag in FLAGS {
        let Some(value) = flag
            .environment
            .and_then(&environment)
            .filter(|value| !value.is_empty())
        else {
            continue;
        };
        if !given.contains_key(flag.name) {
            given.insert(flag.name, vec![value]);
        }
    }
    let (path, required) = match given.get("config").and_then(|values| values.last()) {
        Some(path) => (PathBuf::from(path), true),
        None => (PathBuf::from(config::DEFAULT_PATH), false),
    };
    let mut values = config::read(&path, required)?;
    values.extend(given);
    from_values(&values)
}

fn from_values(values: &Values) -> Result<Options, OptionsError> {
    let reader = Reader(values);
    let token = match (reader.text("token"), reader.text("token-file")) {
        (Some(token), _) => Some(token.to_owned()),
        (None, Some(path)) => Some(token_from_file(Path::new(path))?),
        (None, None) => None,
    };
    Ok(Options {
        node_name: reader.text("node-name").map(str::to_owned),
        node_ips: reader.parse_list("node-ip", "not an IP address", |text| text.parse().ok())?,
        node_labels: reader.parse_list("node-label", "expected KEY=VALUE", |text| {
            let (key, value) = text.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        })?,
        flannel_interface: reader.text("flannel-iface").map(str::to_owned),
        has_cni: reader
            .one(
                "flannel-backend",
                "expected none, vxlan, host-gw or wireguard-native",
                |text| match text {
                    "none" => Some(false),
                    "vxlan" | "host-gw" | "wireguard-native" => Some(true),
                    _ => None,
                },
            )?
            .unwrap_or(true),
        tls_sans: reader.list("tls-san"),
        disabled: reader.list("disable"),
        port: reader
            .one(
                "https-listen-port",
                "expected a port from 1 to 65535",
                |text| text.parse().ok().filter(|&port| port != 0),
            )?
            .unwrap_or(6443),
        bind_address: reader.one("bind-address", "not an IP address", |text| {
            text.parse().ok()
        })?,
        advertise_address: reader.one("advertise-address", "not an IP address", |text| {
            text.parse().ok()
        })?,
        kubeconfig_path: reader
            .text("write-kubeconfig")
            .unwrap_or("/etc/rancher/k3s/k3s.yaml")
            .into(),
        kubeconfig_mode: reader
            .one(
                "write-kubeconfig-mode",
                "expected an octal mode such as 600",
                |text| {
                    u32::from_str_radix(text, 8)
                        .ok()
                        .filter(|&mode| mode <= 0o777)
                },
            )?
            .unwrap_or(0o600),
        data_dir: reader
            .text("data-dir")
            .unwrap_or("/var/lib/rancher/k3s")
            .into(),
        token,
        join: reader.text("server").map(str::to_owned),
        embedded_etcd: reader.on("cluster-init"),
        cluster_cidr: reader
            .list("cluster-cidr")
            .into_iter()
            .next()
            .unwrap_or_else(|| "10.42.0.0/16".to_owned()),
        service_cidr: reader
            .list("service-cidr")
            .into_iter()
            .next()
            .unwrap_or_else(|| "10.43.0.0/16".to_owned()),
        cluster_domain: reader
            .text("cluster-domain")
            .unwrap_or("cluster.local")
            .to_owned(),
        script: script(&reader)?,
    })
}

fn script(reader: &Reader<'_>) -> Result<Script, OptionsError> {
    let default = Script::default();
    let delay =
        |name, default: Duration| Ok::<_, OptionsError>(reader.duration(name)?.unwrap_or(default));
    Ok(Script {
        api_delay: delay("simulate-api-delay", default.api_delay)?,
        ready_delay: delay("simulate-ready-delay", default.ready_delay)?,
        node_delay: delay("simulate-node-delay", default.node_delay)?,
        node_ready_delay: delay("simulate-node-ready-delay", default.node_ready_delay)?,
        system_delay: delay("simulate-system-delay", default.system_delay)?,
        fail: reader.text("simulate-fail").map(str::to_owned),
        fail_times: reader.one(
            "simulate-fail-times",
            "expected a number of starts",
            |text| text.parse().ok(),
        )?,
        crash_after: reader.duration("simulate-crash-after")?,
        rotate_after: reader.duration("simulate-rotate-after")?,
        node_not_ready_after: reader.duration("simulate-node-not-ready-after")?,
        hostile: reader.one("simulate-hostile", Hostile::NAMES, Hostile::parse)?,
    })
}

fn token_from_file(path: &Path) -> Result<String, OptionsError> {
    let text = std::fs::read_to_string(path).map_err(|source| OptionsError::TokenFile {
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

struct Reader<'a>(&'a Values);

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)?
            .last()
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    fn on(&self, name: &str) -> bool {
        self.text(name) == Some("true")
    }

    /// Lists may be written as one value with commas.
    fn list(&self, name: &str) -> Vec<String> {
        let given = self.0.get(name).map(Vec::as_slice).unwrap_or_default();
        given
            .iter()
            .flat_map(|text| text.split(','))
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .collect()
    }

    fn one<T>(
        &self,
        name: &'static str,
        reason: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, OptionsError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        parse(text)
            .map(Some)
            .ok_or_else(|| invalid(name, text, reason))
    }

    fn parse_list<T>(
        &self,
        name: &'static str,
        reason: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, OptionsError> {
        self.list(name)
            .iter()
            .map(|text| parse(text).ok_or_else(|| invalid(name, text, reason)))
            .collect()
    }

    fn duration(&self, name: &'static str) -> Result<Option<Duration>, OptionsError> {
        self.one(
            name,
            "expected a duration such as 250ms, 2s or 1m",
            clock::parse_duration,
        )
    }
}

fn invalid(name: &'static str, value: &str, reason: &str) -> OptionsError {
    OptionsError::Value {
        name,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, OptionsError> {
        let arguments: Vec<_> = arguments.iter().map(|&text| text.to_owned()).collect();
        super::read(&arguments, |_| None)
    }

    #[test]
    fn the_command_line_wins_over_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(
            &path,
            "node-ip: 10.0.0.1,fd00::1\ntls-san: [a, b]\nflannel-backend: none\nsimulate-ready-delay: 2s\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let options = read(&[
            "--config",
            path,
            "--tls-san",
            "c",
            "--write-kubeconfig-mode",
            "640",
        ])
        .unwrap();
        assert_eq!(options.node_ips.len(), 2);
        assert_eq!(options.tls_sans, ["c"]);
        assert!(!options.has_cni);
        assert_eq!(options.script.ready_delay, Duration::from_secs(2));
        assert_eq!((options.port, options.kubeconfig_mode), (6443, 0o640));
    }

    #[test]
    fn the_environment_stands_in_for_a_flag() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, "node-name: from-file\ntoken: from-file\n").unwrap();
        let environment = |name: &str| match name {
            "K3S_CONFIG_FILE" => Some(path.to_str().unwrap().to_owned()),
            "K3S_TOKEN" => Some("from-environment".to_owned()),
            _ => None,
        };
        let options = super::read(&[], environment).unwrap();
        assert_eq!(options.token.as_deref(), Some("from-environment"));
        assert_eq!(options.node_name.as_deref(), Some("from-file"));
    }

    #[test]
    fn values_that_a_flag_does_not_take_are_refused() {
        for arguments in [
            ["--node-ip", "eth0"],
            ["--https-listen-port", "0"],
            ["--flannel-backend", "cilium"],
            ["--write-kubeconfig-mode", "9"],
            ["--node-label", "novalue"],
            ["--simulate-hostile", "kittens"],
            ["--simulate-ready-delay", "5"],
        ] {
            let message = read(&arguments).unwrap_err().to_string();
            assert!(
                message.contains(&arguments[0][2..]) && message.contains(arguments[1]),
                "{message}"
            );
        }
    }
}
