//! A network-config of version 2, the vocabulary of netplan: what is written there is taken or named,
//! never skipped.

use std::{fs, io, path::Path};

use lkc_protocol::message::{ApplyNetwork, InterfaceConfig, RouteConfig};
use serde_json::{Map, Value};
use thiserror::Error;

/// Largest file in bytes.
const LARGEST: u64 = 256 * 1024;

/// The file cannot be applied.
#[derive(Debug, Error)]
pub(super) enum DocumentError {
    /// Not to be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// No YAML.
    #[error("it is not YAML: {0}")]
    Yaml(String),
    /// It says something that lkc does not do.
    #[error("{place}: {what}")]
    Unsupported {
        /// Where, like `ethernets.eth0`.
        place: String,
        /// What.
        what: String,
    },
}

pub(super) fn read(path: &Path) -> Result<ApplyNetwork, DocumentError> {
    if fs::metadata(path)?.len() > LARGEST {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge).into());
    }
    parse(&fs::read_to_string(path)?)
}

fn parse(text: &str) -> Result<ApplyNetwork, DocumentError> {
    let document: Value =
        serde_saphyr::from_str(text).map_err(|error| DocumentError::Yaml(error.to_string()))?;
    let mut top = Table::of(document, "the document")?;
    // netplan and some images wrap it.
    if let Some(inner) = top.take("network") {
        top.end()?;
        top = Table::of(inner, "network")?;
    }
    match top.take("version") {
        Some(version) if version == 2 => {}
        _ => return Err(top.wrong("only `version: 2` is taken")),
    }
    if let Some(renderer) = top.take("renderer")
        && renderer != "networkd"
    {
        return Err(top.wrong("only the renderer `networkd` is taken"));
    }
    let hostname = top.text("hostname")?;
    let mut interfaces = Vec::new();
    if let Some(ethernets) = top.take("ethernets") {
        let ethernets = Table::of(ethernets, "ethernets")?;
        for (id, interface) in ethernets.rest {
            let table = Table::of(interface, &format!("ethernets.{id}"))?;
            interfaces.push(self::interface(id, table)?);
        }
    }
    top.end()?;
    Ok(ApplyNetwork {
        hostname,
        interfaces,
    })
}

fn interface(id: String, mut table: Table) -> Result<InterfaceConfig, DocumentError> {
    let mut interface = InterfaceConfig {
        id,
        dhcp4: table.flag("dhcp4")?.unwrap_or(false),
        dhcp6: table.flag("dhcp6")?.unwrap_or(false),
        set_name: table.text("set-name")?,
        addresses: table.texts("addresses")?,
        dhcp_use_routes: true,
        dhcp_use_dns: true,
        ..InterfaceConfig::default()
    };
    if let Some(mut found) = table.table("match")? {
        interface.match_mac = found.text("macaddress")?;
        interface.match_name = found.text("name")?;
        interface.match_driver = found.text("driver")?;
        found.end()?;
    }
    let mut overrides = Vec::new();
    for (key, asked) in [
        ("dhcp4-overrides", interface.dhcp4),
        ("dhcp6-overrides", interface.dhcp6),
    ] {
        if let Some(mut found) = table.table(key)? {
            let use_routes = found.flag("use-routes")?.unwrap_or(true);
            let use_dns = found.flag("use-dns")?.unwrap_or(true);
            found.end()?;
            if asked {
                overrides.push((use_routes, use_dns));
            }
        }
    }
    if let [first, others @ ..] = &overrides[..] {
        if others.iter().any(|other| other != first) {
            return Err(table.wrong("DHCP for IPv4 and IPv6 cannot be overridden differently"));
        }
        (interface.dhcp_use_routes, interface.dhcp_use_dns) = *first;
    }
    if let Some(mut found) = table.table("nameservers")? {
        interface.nameservers = found.texts("addresses")?;
        interface.search = found.texts("search")?;
        found.end()?;
    }
    interface.mtu = table.number("mtu")?;
    for (at, route) in table.list("routes")?.into_iter().enumerate() {
        let mut route = Table::of(route, &format!("{}.routes[{at}]", table.place))?;
        interface.routes.push(RouteConfig {
            to: route
                .text("to")?
                .ok_or_else(|| route.wrong("`to` is missing"))?,
            via: route.text("via")?,
            metric: route.number("metric")?,
        });
        route.end()?;
    }
    for (key, default) in [("gateway4", "0.0.0.0/0"), ("gateway6", "::/0")] {
        if let Some(via) = table.text(key)? {
            interface.routes.push(RouteConfig {
                to: default.to_owned(),
                via: Some(via),
                metric: None,
            });
        }
    }
    // What a boot may wait for is not lkc's.
    let _ = table.flag("optional")?;
    table.end()?;
    Ok(interface)
}

/// A mapping of which each key is to be taken.
struct Table {
    place: String,
    rest: Map<String, Value>,
}

impl Table {
    fn of(value: Value, place: &str) -> Result<Self, DocumentError> {
        let place = place.to_owned();
        match value {
            Value::Object(rest) => Ok(Self { place, rest }),
            _ => Err(DocumentError::Unsupported {
                place,
                what: "not a mapping".to_owned(),
            }),
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.rest.remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, DocumentError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(&format!("`{key}` is not a text"))),
        }
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, DocumentError> {
        let list = self.list(key)?.into_iter();
        let texts = list.map(|value| match value {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(&format!("`{key}` is not a list of plain texts"))),
        });
        texts.collect()
    }

    fn list(&mut self, key: &str) -> Result<Vec<Value>, DocumentError> {
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(self.wrong(&format!("`{key}` is not a list"))),
        }
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, DocumentError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            // As people write it in YAML of old.
            Some(Value::String(text)) if text == "yes" => Ok(Some(true)),
            Some(Value::String(text)) if text == "no" => Ok(Some(false)),
            Some(_) => Err(self.wrong(&format!("`{key}` is neither true nor false"))),
        }
    }

    fn number(&mut self, key: &str) -> Result<Option<u32>, DocumentError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number
            .map(Some)
            .ok_or_else(|| self.wrong(&format!("`{key}` is not a number")))
    }

    fn table(&mut self, key: &str) -> Result<Option<Self>, DocumentError> {
        let place = format!("{}.{key}", self.place);
        self.take(key)
            .map(|value| Self::of(value, &place))
            .transpose()
    }

    /// Names what was not taken.
    fn end(&self) -> Result<(), DocumentError> {
        let left: Vec<&str> = self.rest.keys().map(String::as_str).collect();
        if left.is_empty() {
            return Ok(());
        }
        Err(self.wrong(&format!("lkc cannot express `{}`", left.join("`, `"))))
    }

    fn wrong(&self, what: &str) -> DocumentError {
        DocumentError::Unsupported {
            place: self.place.clone(),
            what: what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cards_as_users_have_them() {
        let text = "\
network:
  version: 2
  ethernets:
    eth0:
      dhcp4: true
      dhcp4-overrides: { use-routes: false, use-dns: false }
    extra:
      match: { macaddress: '52:54:00:c8:32:0a' }
      set-name: k8snet
      addresses: [192.100.0.10/24]
      routes: [{ to: default, via: 192.100.0.1, metric: 50 }]
      nameservers: { addresses: [192.100.0.1], search: [lab.test] }
      mtu: 1400
      optional: yes
";
        let network = parse(text).unwrap();
        let [eth0, extra] = &network.interfaces[..] else {
            panic!("{network:?}");
        };
        assert!(eth0.dhcp4 && !eth0.dhcp_use_routes && !eth0.dhcp_use_dns && !eth0.dhcp6);
        assert_eq!(extra.match_mac.as_deref(), Some("52:54:00:c8:32:0a"));
        assert_eq!(extra.set_name.as_deref(), Some("k8snet"));
        assert_eq!(extra.routes[0].via.as_deref(), Some("192.100.0.1"));
        assert_eq!((extra.routes[0].metric, extra.mtu), (Some(50), Some(1400)));
        assert_eq!(extra.search, ["lab.test"]);
    }

    #[test]
    fn what_cannot_be_expressed_is_named() {
        let table = [
            ("version: 1\n", "the document: only `version: 2` is taken"),
            ("- 1\n", "the document: not a mapping"),
            (
                "version: 2\nbonds: {}\nbridges: {}\n",
                "the document: lkc cannot express `bonds`, `bridges`",
            ),
            (
                "version: 2\nethernets: { eth0: { wakeonlan: true } }\n",
                "ethernets.eth0: lkc cannot express `wakeonlan`",
            ),
            (
                "version: 2\nethernets: { eth0: { dhcp4-overrides: { route-metric: 5 } } }\n",
                "ethernets.eth0.dhcp4-overrides: lkc cannot express `route-metric`",
            ),
            (
                "version: 2\nethernets: { eth0: { addresses: 10.0.0.1/8 } }\n",
                "ethernets.eth0: `addresses` is not a list",
            ),
            (
                "version: 2\nethernets: { eth0: { routes: [{ via: 10.0.0.1 }] } }\n",
                "ethernets.eth0.routes[0]: `to` is missing",
            ),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(
            parse("a: [")
                .unwrap_err()
                .to_string()
                .starts_with("it is not YAML")
        );
    }
}
