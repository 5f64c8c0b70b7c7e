//! What the file and the flags say of a cluster, each value with its place, nothing decided yet.

mod reach;
mod reverse;
mod vm;

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{
    cluster::{ClusterName, ForwardSpec},
    place::{Place, Placed},
    problem::Problem,
    reader::{Reader, Value, array, in_order, integer, place, table, text, wrong_type},
};

pub(super) use reach::{DraftReach, DraftSsh};
pub(super) use reverse::{DraftReverse, UNIX};
pub(super) use vm::DraftVm;

/// What is said of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) name: Placed<ClusterName>,
    pub(super) index: Option<Placed<i64>>,
    pub(super) driver: Option<Placed<String>>,
    pub(super) address: Option<Placed<String>>,
    pub(super) gateway: Option<Placed<String>>,
    pub(super) mac: Option<Placed<String>>,
    pub(super) interface: Option<Placed<String>>,
    pub(super) mtu: Option<Placed<i64>>,
    pub(super) nameservers: Vec<Placed<String>>,
    pub(super) cni: Option<Placed<String>>,
    pub(super) encrypt: Option<Placed<String>>,
    pub(super) wait: Option<Placed<String>>,
    pub(super) timeout: Option<Placed<String>>,
    /// What is said of the well-known ports, in the order of [`WELL_KNOWN`].
    pub(super) ports: [Option<Placed<PortChoice>>; WELL_KNOWN.len()],
    pub(super) k3s_binary: Option<Placed<PathBuf>>,
    pub(super) k3s_disable: Vec<Placed<String>>,
    pub(super) k3s_tls_san: Vec<Placed<String>>,
    /// `key=value`, or a key alone.
    pub(super) k3s_settings: Vec<Placed<String>>,
    pub(super) forwards: Vec<DraftForward>,
    pub(super) reverse: Vec<DraftReverse>,
    pub(super) reach: DraftReach,
    pub(super) vm: DraftVm,
}

/// A port of the host, or no listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortChoice {
    Port(i64),
    /// The one that the index gives it.
    Usual,
    Off,
}

/// A forward whose port follows from the index.
pub(super) struct WellKnown {
    pub(super) name: &'static str,
    /// Host port of the cluster with index 0.
    pub(super) host: u16,
    /// Port in the guest; none of SOCKS.
    pub(super) guest: Option<u16>,
}

impl WellKnown {
    /// Whether a cluster has it unless it is switched off. What opens all of a cluster is asked for.
    pub(super) const fn by_default(&self) -> bool {
        self.guest.is_some()
    }
}

/// The forwards whose ports follow from the index.
pub(super) const WELL_KNOWN: [WellKnown; 5] = [
    WellKnown {
        name: "api",
        host: 6443,
        guest: Some(6443),
    },
    WellKnown {
        name: "http",
        host: 8080,
        guest: Some(80),
    },
    WellKnown {
        name: "https",
        host: 8443,
        guest: Some(443),
    },
    WellKnown {
        name: "ssh",
        host: 2210,
        guest: Some(22),
    },
    WellKnown {
        name: "socks",
        host: 1080,
        guest: None,
    },
];

impl ForwardSpec {
    /// Whether another index would move its host port: it is one whose port follows from the index,
    /// and has the one that `index` gives it.
    #[must_use]
    pub fn follows_index(&self, index: u8) -> bool {
        WELL_KNOWN
            .iter()
            .any(|known| known.name == self.name && known.host + u16::from(index) == self.host_port)
    }
}

/// Where a forward listens on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostPlace {
    Port(i64),
    /// A unix socket, its path resolved.
    Socket(PathBuf),
}

/// What is said of a forward.
#[derive(Debug, Clone)]
pub(super) struct DraftForward {
    pub(super) place: Place,
    pub(super) name: Option<Placed<String>>,
    pub(super) host: Option<Placed<HostPlace>>,
    /// `PORT` or `HOST:PORT`.
    pub(super) guest: Option<Placed<String>>,
    pub(super) bind: Option<Vec<Placed<String>>>,
    pub(super) protocol: Option<Placed<String>>,
}

/// What a whole file says.
#[derive(Debug, Clone, Default)]
pub(super) struct DraftFile {
    pub(super) default: Option<Placed<String>>,
    /// In the order in which they were written.
    pub(super) clusters: Vec<Draft>,
}

impl DraftFile {
    /// Reads `text`; paths in it are relative to `base`.
    pub(super) fn parse(text: &str, base: &Base<'_>) -> Result<Self, Problem> {
        let document = DeTable::parse(text).map_err(|error| {
            let end = text.len();
            let span = error.span().unwrap_or(end..end);
            Problem::at(&Place::File(span), error.message())
        })?;
        let top = Reader::new(document.as_ref(), "the file", &["default", "cluster"])?;
        let mut clusters = Vec::new();
        if let Some(named) = top.table("cluster")? {
            for (name, value) in in_order(named) {
                clusters.push(Draft::read(name, value, base)?);
            }
        }
        Ok(Self {
            default: top.text("default")?,
            clusters,
        })
    }
}

/// What paths are relative to.
pub(super) struct Base<'a> {
    pub(super) directory: &'a Path,
    pub(super) home: &'a Path,
}

impl Base<'_> {
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        resolve(path, self.directory, self.home)
    }
}

/// An absolute path: one below `~` is in the user's home directory, others are as seen from
/// `directory`.
#[must_use]
pub fn resolve(path: &Path, directory: &Path, home: &Path) -> PathBuf {
    match path.strip_prefix("~") {
        Ok(rest) => home.join(rest),
        Err(_) => directory.join(path),
    }
}

impl Draft {
    /// A cluster of which nothing is said but its name.
    pub(super) fn named(name: Placed<ClusterName>) -> Self {
        Self {
            name,
            index: None,
            driver: None,
            address: None,
            gateway: None,
            mac: None,
            interface: None,
            mtu: None,
            nameservers: Vec::new(),
            cni: None,
            encrypt: None,
            wait: None,
            timeout: None,
            ports: [const { None }; WELL_KNOWN.len()],
            k3s_binary: None,
            k3s_disable: Vec::new(),
            k3s_tls_san: Vec::new(),
            k3s_settings: Vec::new(),
            forwards: Vec::new(),
            reverse: Vec::new(),
            reach: DraftReach::default(),
            vm: DraftVm::default(),
        }
    }

    fn read(key: Placed<&str>, value: &Value<'_>, base: &Base<'_>) -> Result<Self, Problem> {
        let name = key
            .value
            .parse::<ClusterName>()
            .map_err(|error| Problem::at(&key.place, "this cannot name a cluster").help(error))?;
        let known = [
            "index",
            "driver",
            "address",
            "gateway",
            "mac",
            "interface",
            "mtu",
            "nameservers",
            "cni",
            "encrypt",
            "wait",
            "timeout",
            "ports",
            "k3s",
            "forward",
            "reverse",
            "carriers",
            "via",
            "guest-key",
            "ssh",
            "vm",
        ];
        let reader = Reader::new(table(value)?, &format!("[cluster.{name}]"), &known)?;
        let mut draft = Self {
            index: reader.integer("index")?,
            driver: reader.text("driver")?,
            address: reader.text("address")?,
            gateway: reader.text("gateway")?,
            mac: reader.text("mac")?,
            interface: reader.text("interface")?,
            mtu: reader.integer("mtu")?,
            nameservers: reader.texts("nameservers")?,
            cni: reader.text("cni")?,
            encrypt: reader.text("encrypt")?,
            wait: reader.text("wait")?,
            timeout: reader.text("timeout")?,
            reach: DraftReach::read(&reader, &format!("[cluster.{name}.ssh]"), base)?,
            ..Self::named(key.map(|_| name))
        };
        if let Some(ports) = reader.table("ports")? {
            draft.read_ports(ports)?;
        }
        if let Some(k3s) = reader.table("k3s")? {
            draft.read_k3s(k3s, base)?;
        }
        if let Some(vm) = reader.table("vm")? {
            draft.vm = DraftVm::read(vm, &draft.table_name("vm"), base)?;
        }
        if let Some(forwards) = reader.value("forward") {
            draft.forwards = array(forwards)?
                .iter()
                .map(|value| DraftForward::read(value, base))
                .collect::<Result<_, _>>()?;
        }
        if let Some(reverse) = reader.value("reverse") {
            draft.reverse = array(reverse)?
                .iter()
                .map(|value| DraftReverse::read(value, base))
                .collect::<Result<_, _>>()?;
        }
        Ok(draft)
    }

    fn table_name(&self, key: &str) -> String {
        format!("[cluster.{}.{key}]", self.name.value)
    }

    fn read_ports(&mut self, ports: &DeTable<'_>) -> Result<(), Problem> {
        let reader = Reader::new(
            ports,
            &self.table_name("ports"),
            &WELL_KNOWN.map(|known| known.name),
        )?;
        for (port, known) in self.ports.iter_mut().zip(&WELL_KNOWN) {
            let said = reader.value(known.name);
            *port = said.map(|value| port_choice(value, known)).transpose()?;
        }
        Ok(())
    }

    fn read_k3s(&mut self, k3s: &DeTable<'_>, base: &Base<'_>) -> Result<(), Problem> {
        let reader = Reader::new(
            k3s,
            &self.table_name("k3s"),
            &["binary", "disable", "tls-san", "settings"],
        )?;
        self.k3s_binary = reader
            .text("binary")?
            .map(|path| path.map(|path| base.resolve(Path::new(&path))));
        self.k3s_disable = reader.texts("disable")?;
        self.k3s_tls_san = reader.texts("tls-san")?;
        if let Some(settings) = reader.table("settings")? {
            for (key, value) in in_order(settings) {
                push_settings(&mut self.k3s_settings, &key, value)?;
            }
        }
        Ok(())
    }
}

impl DraftForward {
    fn read(value: &Value<'_>, base: &Base<'_>) -> Result<Self, Problem> {
        let host = |value| host_place(value, base);
        let reader = Reader::new(
            table(value)?,
            "[[forward]]",
            &["name", "host", "guest", "bind", "protocol"],
        )?;
        Ok(Self {
            place: place(value),
            name: reader.text("name")?,
            host: reader.value("host").map(host).transpose()?,
            guest: reader
                .value("guest")
                .map(|value| port_or_text("a port or \"ADDRESS:PORT\"", value))
                .transpose()?,
            bind: reader
                .value("bind")
                .map(|_| reader.texts("bind"))
                .transpose()?,
            protocol: reader.text("protocol")?,
        })
    }
}

fn port_choice(value: &Value<'_>, known: &WellKnown) -> Result<Placed<PortChoice>, Problem> {
    match value.as_ref() {
        DeValue::Integer(_) => Ok(integer(value)?.map(PortChoice::Port)),
        DeValue::Boolean(false) => Ok(Placed::new(PortChoice::Off, place(value))),
        DeValue::Boolean(true) if !known.by_default() => {
            Ok(Placed::new(PortChoice::Usual, place(value)))
        }
        DeValue::Boolean(true) => Err(Problem::at(&place(value), "expected a port or false")
            .help("a listener is there by default: remove this line")),
        other => Err(wrong_type("a port or false", other, value.span())),
    }
}

fn host_place(value: &Value<'_>, base: &Base<'_>) -> Result<Placed<HostPlace>, Problem> {
    match value.as_ref() {
        DeValue::Integer(_) => Ok(integer(value)?.map(HostPlace::Port)),
        DeValue::String(said) => match said.strip_prefix(ForwardSpec::UNIX) {
            Some(path) if !path.is_empty() => {
                let path = base.resolve(Path::new(path));
                Ok(Placed::new(HostPlace::Socket(path), place(value)))
            }
            _ => Err(
                Problem::at(&place(value), format!("`{said}` is nowhere to listen"))
                    .help("write a port as a number, or \"unix:PATH\""),
            ),
        },
        other => Err(wrong_type("a port or \"unix:PATH\"", other, value.span())),
    }
}

fn port_or_text(expected: &str, value: &Value<'_>) -> Result<Placed<String>, Problem> {
    match value.as_ref() {
        DeValue::Integer(_) => Ok(integer(value)?.map(|port| port.to_string())),
        DeValue::String(_) => text(value),
        other => Err(wrong_type(expected, other, value.span())),
    }
}

/// Adds `key = value` in k3s' own words: a list repeats the key, true is the key alone.
fn push_settings(
    settings: &mut Vec<Placed<String>>,
    key: &Placed<&str>,
    value: &Value<'_>,
) -> Result<(), Problem> {
    if key.value.contains('=') {
        return Err(Problem::at(
            &key.place,
            "a setting's name cannot contain `=`",
        ));
    }
    let values = match value.as_ref() {
        DeValue::Array(values) => &values[..],
        _ => std::slice::from_ref(value),
    };
    for value in values {
        let setting = match value.as_ref() {
            DeValue::Boolean(true) => key.value.to_owned(),
            DeValue::Boolean(false) => format!("{}=false", key.value),
            DeValue::Integer(_) => format!("{}={}", key.value, integer(value)?.value),
            DeValue::String(text) => format!("{}={text}", key.value),
            other => {
                let expected = "a string, a whole number, true, false or a list of them";
                return Err(wrong_type(expected, other, value.span()));
            }
        };
        settings.push(Placed::new(setting, place(value)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ForwardProtocol;

    #[test]
    fn only_a_port_that_the_index_gave_moves_with_it() {
        let forward = |name: &str, host_port| ForwardSpec {
            name: name.to_owned(),
            protocol: ForwardProtocol::Tcp,
            socket: None,
            bind: Vec::new(),
            host_port,
            guest_host: "127.0.0.1".to_owned(),
            guest_port: 1,
        };
        assert!(forward("api", 6443).follows_index(0));
        assert!(forward("ssh", 2215).follows_index(5));
        assert!(!forward("api", 6443).follows_index(1));
        assert!(!forward("postgres", 6443).follows_index(0));
    }
}
