//! Our part of k3s' configuration: one file in `config.yaml.d`, made of checked values only.
//!
//! Every value is written as a double-quoted string, which k3s turns into `--key=value` whatever
//! its type; so no value can become another key, a number or a truth value.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lkc_protocol::message::{Cni, ConfigureK3s, K3sRole};
use thiserror::Error;

use super::K3sPaths;

/// Bytes of one value; the longest that k3s knows, a join token, has under 200.
const MAX_VALUE_BYTES: usize = 4096;

/// Settings of one request, well above what k3s has flags for.
const MAX_SETTINGS: usize = 256;

/// The first line of the file up to the role.
const HEADER: &str = "# Written by lkc-guest, changes are overwritten. Role: ";

/// A checked configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Dropin {
    role: K3sRole,
    node_ip: IpAddr,
    entries: Vec<(String, Vec<String>)>,
    asked: Box<ConfigureK3s>,
}

/// Why a configuration is not accepted or not written.
#[derive(Debug, Error)]
pub enum DropinError {
    /// The node's name could not be one.
    #[error("{name:?} is no node name: use lower case letters, digits, '-' and '.'")]
    NodeName {
        /// The name.
        name: String,
    },
    /// The node's address is not one.
    #[error("{address:?} is no IP address for the node")]
    NodeIp {
        /// The address.
        address: String,
    },
    /// Not an interface's name.
    #[error("{name:?} is no name of a network interface")]
    Interface {
        /// The name.
        name: String,
    },
    /// A setting is not `key=value`.
    #[error(
        "setting {setting:?} is not key=value with a key of lower case letters, digits and '-'"
    )]
    Setting {
        /// The setting, cut.
        setting: String,
    },
    /// A setting for a key that has its own field, or two values for what can have one.
    #[error("setting {key} is already given by the node's configuration")]
    Duplicate {
        /// Its key.
        key: String,
    },
    /// A value that a configuration file cannot have.
    #[error("the value of {key} is empty, too long or has control characters")]
    Value {
        /// Its key.
        key: String,
    },
    /// More settings than k3s knows.
    #[error("more than {MAX_SETTINGS} settings")]
    TooMany,
    /// An agent needs a server, and only an agent.
    #[error("a node of role {role} {needs}")]
    Join {
        /// The node's role.
        role: K3sRole,
        /// What is wrong.
        needs: &'static str,
    },
    /// etcd knows its members by address: with another one this node's never starts.
    #[error(
        "the node's address cannot change from {old} to {new}: embedded etcd in {path} knows it by the old one; \
         keep {old}, or run `k3s server --cluster-reset` in the guest",
        path = path.display()
    )]
    EtcdAddress {
        /// The address that etcd knows.
        old: IpAddr,
        /// The address that was asked for.
        new: IpAddr,
        /// Its data.
        path: PathBuf,
    },
    /// Not written.
    #[error("cannot write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Dropin {
    /// Checks a configuration.
    ///
    /// # Errors
    /// Names the first value that is not acceptable.
    pub fn new(request: &ConfigureK3s) -> Result<Self, DropinError> {
        let node_name = node_name(&request.node_name)?;
        let node_ip: IpAddr = request.node_ip.parse().map_err(|_| DropinError::NodeIp {
            address: cut(&request.node_ip),
        })?;
        let mut entries = Entries::default();
        entries.fixed("node-name", node_name)?;
        entries.fixed("node-ip", &node_ip.to_string())?;
        if request.cni == Cni::Default
            && let Some(name) = &request.flannel_interface
        {
            entries.fixed("flannel-iface", interface(name)?)?;
        }
        match request.role {
            K3sRole::Server => server_entries(request, node_ip, &mut entries)?,
            K3sRole::Agent => agent_entries(request, &mut entries)?,
        }
        if request.settings.len() > MAX_SETTINGS {
            return Err(DropinError::TooMany);
        }
        for setting in &request.settings {
            let (key, value) = parse_setting(setting)?;
            entries.setting(key, value)?;
        }
        Ok(Self {
            role: request.role,
            node_ip,
            entries: entries
                .0
                .into_iter()
                .map(|entry| (entry.key, entry.values))
                .collect(),
            asked: Box::new(request.clone()),
        })
    }

    /// Role of the node.
    #[must_use]
    pub fn role(&self) -> K3sRole {
        self.role
    }

    /// What it was made of.
    pub(crate) fn asked(&self) -> &ConfigureK3s {
        &self.asked
    }

    /// The file's content.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{HEADER}{}\n", self.role);
        for (key, values) in &self.entries {
            match values.as_slice() {
                [value] => _ = writeln!(text, "{key}: {}", quoted(value)),
                many => {
                    _ = writeln!(text, "{key}:");
                    for value in many {
                        _ = writeln!(text, "  - {}", quoted(value));
                    }
                }
            }
        }
        text
    }

    /// Writes the file unless it is there with the same content: whole or not at all, readable by
    /// the owner only since it may hold the join token. True when it was written.
    ///
    /// # Errors
    /// When the file cannot be read for comparison or not be written, or when embedded etcd would
    /// not start with the node's new address.
    pub fn write(&self, paths: &K3sPaths) -> Result<bool, DropinError> {
        let etcd_dir = paths.data_dir.join("server/db/etcd");
        if let Some(Written { node_ip: old, .. }) = written(paths)
            && old != self.node_ip
            && etcd_dir.exists()
        {
            return Err(DropinError::EtcdAddress {
                old,
                new: self.node_ip,
                path: etcd_dir,
            });
        }
        let path = paths.dropin_path();
        let text = self.render();
        write_if_different(&path, &text).map_err(|source| DropinError::Write { path, source })
    }
}

impl std::fmt::Debug for Dropin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&str> = self.entries.iter().map(|(key, _)| key.as_str()).collect();
        formatter
            .debug_struct("Dropin")
            .field("role", &self.role)
            .field("keys", &keys)
            .finish()
    }
}

/// What the file that is there says of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Role of the node.
    pub role: K3sRole,
    /// Name of its object.
    pub node_name: String,
    /// Its address.
    pub node_ip: IpAddr,
}

/// What was written last, none when nothing was.
#[must_use]
pub fn written(paths: &K3sPaths) -> Option<Written> {
    read_written(&std::fs::read_to_string(paths.dropin_path()).ok()?)
}

pub(super) fn read_written(text: &str) -> Option<Written> {
    let role = match text.lines().next()?.strip_prefix(HEADER)? {
        "server" => K3sRole::Server,
        "agent" => K3sRole::Agent,
        _ => return None,
    };
    let value = |key: &str| {
        let quoted = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))?;
        quoted.strip_prefix('"')?.strip_suffix('"')
    };
    let node_name = node_name(value("node-name")?).ok()?.to_owned();
    let node_ip = value("node-ip")?.parse().ok()?;
    Some(Written {
        role,
        node_name,
        node_ip,
    })
}

/// A number that differs, as good as surely, when the file's content does.
pub(super) fn fingerprint(paths: &K3sPaths) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::fs::read(paths.dropin_path())
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

#[derive(Default)]
struct Entries(Vec<Entry>);

struct Entry {
    key: String,
    values: Vec<String>,
    /// Whether settings may add to it.
    open: bool,
}

impl Entries {
    /// A key with one value that no setting may touch.
    fn fixed(&mut self, key: &str, value: &str) -> Result<(), DropinError> {
        self.0.push(Entry {
            key: key.to_owned(),
            values: vec![checked(key, value)?],
            open: false,
        });
        Ok(())
    }

    /// A key with values that settings may add to; nothing when there are none.
    fn list(&mut self, key: &str, values: &[String]) -> Result<(), DropinError> {
        for value in values {
            self.setting(key, value)?;
        }
        Ok(())
    }

    fn setting(&mut self, key: &str, value: &str) -> Result<(), DropinError> {
        let value = checked(key, value)?;
        match self.0.iter_mut().find(|entry| entry.key == key) {
            None => self.0.push(Entry {
                key: key.to_owned(),
                values: vec![value],
                open: true,
            }),
            Some(entry) if entry.open => {
                if !entry.values.contains(&value) {
                    entry.values.push(value);
                }
            }
            Some(_) => {
                return Err(DropinError::Duplicate {
                    key: key.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn server_entries(
    request: &ConfigureK3s,
    node_ip: IpAddr,
    entries: &mut Entries,
) -> Result<(), DropinError> {
    let join = |needs| DropinError::Join {
        role: K3sRole::Server,
        needs,
    };
    if request.server_url.is_some() || request.token.is_some() {
        return Err(join(
            "joins no other: leave the server's URL and the token out",
        ));
    }
    entries.fixed("advertise-address", &node_ip.to_string())?;
    if request.cni == Cni::None {
        entries.fixed("flannel-backend", "none")?;
        // Without it k3s 1.28 crashes when there is no flannel.
        entries.fixed("disable-network-policy", "true")?;
    }
    entries.list("tls-san", &request.tls_san)?;
    entries.list("disable", &request.disable)
}

fn agent_entries(request: &ConfigureK3s, entries: &mut Entries) -> Result<(), DropinError> {
    let join = |needs| DropinError::Join {
        role: K3sRole::Agent,
        needs,
    };
    let server = request
        .server_url
        .as_deref()
        .ok_or_else(|| join("needs the server's URL"))?;
    let token = request
        .token
        .as_deref()
        .ok_or_else(|| join("needs a token"))?;
    if !server.starts_with("https://") {
        return Err(join("joins by an https URL"));
    }
    entries.fixed("server", server)?;
    entries.fixed("token", token)
}

/// RFC 1123, as Kubernetes checks it.
fn node_name(name: &str) -> Result<&str, DropinError> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(name)
    } else {
        Err(DropinError::NodeName { name: cut(name) })
    }
}

/// What the kernel takes: up to 15 bytes, no slash, no space.
fn interface(name: &str) -> Result<&str, DropinError> {
    let fits = (1..=15).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
        && name != "."
        && name != "..";
    if fits {
        Ok(name)
    } else {
        Err(DropinError::Interface { name: cut(name) })
    }
}

fn parse_setting(setting: &str) -> Result<(&str, &str), DropinError> {
    let (key, value) = setting.split_once('=').unwrap_or((setting, "true"));
    let bare = key.strip_suffix('+').unwrap_or(key);
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&bare.len()) && bare.bytes().all(inner) && bare.as_bytes()[0] != b'-' {
        Ok((key, value))
    } else {
        Err(DropinError::Setting {
            setting: cut(setting),
        })
    }
}

fn checked(key: &str, value: &str) -> Result<String, DropinError> {
    if value.is_empty() || value.len() > MAX_VALUE_BYTES || value.chars().any(char::is_control) {
        return Err(DropinError::Value {
            key: key.to_owned(),
        });
    }
    Ok(value.to_owned())
}

/// A YAML double-quoted scalar in ASCII. Without control characters JSON's escapes are YAML's.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            ' '..='~' => text.push(character),
            _ => _ = write!(text, "\\U{:08X}", u32::from(character)),
        }
    }
    text.push('"');
    text
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

pub(super) fn write_if_different(path: &Path, text: &str) -> std::io::Result<bool> {
    match std::fs::read(path) {
        Ok(bytes) if bytes == text.as_bytes() => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(directory)?;
    // k3s reads only *.yaml and *.yml there, so a file left by a crash is not read.
    let mut file = tempfile::Builder::new()
        .prefix(".50-lkc-")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(directory)?.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests;
