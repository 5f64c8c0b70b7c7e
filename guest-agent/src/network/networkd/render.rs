//! From a configuration to the files that systemd-networkd and udev read. Pure.
//!
//! The names sort before those that images and tools use (`05-`, `10-`, `99-`): of the files that
//! match a link networkd takes the first alone, so a static address here replaces a DHCP fallback
//! there. What links are called once the files are in force is in the files, since both read them
//! again at the next boot.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::super::address::Family;
use super::super::config::{Interface, Matcher, NetworkConfig, Route};
use super::super::observed::ObservedLink;

/// What every file of ours begins with.
pub(super) const PREFIX: &str = "00-lkc-";

/// How the names of network cards begin, by the kernel and by udev.
const CARDS: [&str; 2] = ["en", "eth"];

/// Metric that networkd gives an IPv6 route that has none, as the kernel does.
const METRIC_V6: u32 = 1024;

/// A file for `/run/systemd/network`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in super::super) struct File {
    pub(in super::super) name: String,
    pub(in super::super) text: String,
}

/// The files for `config`, sorted. `links` are those that the interfaces match, in their order; at
/// boot, when the devices may be missing yet, there are none.
pub(in super::super) fn files(config: &NetworkConfig, links: &[&ObservedLink]) -> Vec<File> {
    let mut files = Vec::new();
    for (at, interface) in config.interfaces.iter().enumerate() {
        let link = links.get(at).copied();
        let name = |kind: &str| format!("{PREFIX}{}.{kind}", interface.id);
        if let Some(text) = link_file(interface, link) {
            files.push(File {
                name: name("link"),
                text,
            });
        }
        files.push(File {
            name: name("network"),
            text: network_file(interface, link, config.hostname.is_some()),
        });
    }
    files.sort();
    files
}

/// Leases on all network cards, for a machine that no host has configured.
pub(in super::super) fn fallback() -> File {
    let mut text =
        "# Made by lkc-guest while no host has configured the network.\n[Match]\n".to_owned();
    line(
        &mut text,
        "Name",
        CARDS.map(|start| format!("{start}*")).join(" "),
    );
    text.push_str("\n[Network]\nDHCP=yes\n");
    File {
        name: format!("{PREFIX}fallback.network"),
        text,
    }
}

/// Whether a link is a network card by its name, and not a bridge or a pod's.
pub(in super::super) fn is_card(link: &ObservedLink) -> bool {
    !link.loopback && link.mac.is_some() && CARDS.iter().any(|start| link.name.starts_with(start))
}

/// What udev does to the device at the next boot; nothing where it keeps its name.
fn link_file(interface: &Interface, link: Option<&ObservedLink>) -> Option<String> {
    let name = interface.set_name.as_ref()?;
    let mut text = heading(interface);
    text.push_str("[Match]\n");
    match &interface.matcher {
        Matcher::Mac(mac) => line(&mut text, mac_key(interface, link), mac),
        Matcher::Driver(glob) => line(&mut text, "Driver", glob),
        Matcher::Name(glob) => line(&mut text, "OriginalName", glob),
        Matcher::Id(id) => line(&mut text, "OriginalName", id),
    }
    // Without the empty policy one of the system's files that comes first would name it.
    text.push_str("\n[Link]\nNamePolicy=\n");
    line(&mut text, "Name", name);
    if let Some(mtu) = interface.mtu {
        line(&mut text, "MTUBytes", mtu);
    }
    Some(text)
}

fn network_file(interface: &Interface, link: Option<&ObservedLink>, named: bool) -> String {
    let mut text = heading(interface);
    text.push_str("[Match]\n");
    match_lines(&mut text, interface, link);
    if let Some(mtu) = interface.mtu {
        text.push_str("\n[Link]\n");
        line(&mut text, "MTUBytes", mtu);
    }
    text.push_str("\n[Network]\n");
    let dhcp = match (interface.dhcp4, interface.dhcp6) {
        (true, true) => "yes",
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        (false, false) => "no",
    };
    line(&mut text, "DHCP", dhcp);
    text.push_str("LinkLocalAddressing=ipv6\n");
    if interface.is_static() {
        // An address that k3s is told is there whether or not somebody is at the other end.
        text.push_str("ConfigureWithoutCarrier=yes\n");
    }
    for server in &interface.nameservers {
        line(&mut text, "DNS", server);
    }
    if !interface.search.is_empty() {
        line(&mut text, "Domains", interface.search.join(" "));
    }
    for address in &interface.addresses {
        text.push_str("\n[Address]\n");
        line(&mut text, "Address", address);
    }
    for route in &interface.routes {
        route_section(&mut text, route);
    }
    if !interface.is_static() {
        offers(&mut text, interface, named);
    }
    text
}

fn heading(interface: &Interface) -> String {
    format!(
        "# Made by lkc-guest for interface {} of the host's configuration; it is replaced.\n",
        interface.id
    )
}

fn match_lines(text: &mut String, interface: &Interface, link: Option<&ObservedLink>) {
    let mut names = Vec::new();
    match &interface.matcher {
        Matcher::Mac(mac) => line(text, mac_key(interface, link), mac),
        Matcher::Driver(glob) => line(text, "Driver", glob),
        Matcher::Name(glob) => names.push(glob.to_string()),
        Matcher::Id(id) => names.push(id.to_string()),
    }
    if names.is_empty() {
        return;
    }
    names.extend(interface.set_name.as_ref().map(ToString::to_string));
    line(text, "Name", names.join(" "));
}

/// A VLAN or a bridge wears the address of the device below it, so the permanent address is the
/// better one; a virtual link has none.
fn mac_key(interface: &Interface, link: Option<&ObservedLink>) -> &'static str {
    let permanent = link.and_then(|link| link.permanent_mac);
    match &interface.matcher {
        Matcher::Mac(mac) if permanent == Some(*mac) => "PermanentMACAddress",
        _ => "MACAddress",
    }
}

fn route_section(text: &mut String, route: &Route) {
    text.push_str("\n[Route]\n");
    line(text, "Destination", route.to);
    if let Some(via) = route.via {
        line(text, "Gateway", via);
    }
    let default = match route.to.family() {
        Family::V4 => 0,
        Family::V6 => METRIC_V6,
    };
    if route.metric != default {
        line(text, "Metric", route.metric);
    }
}

/// What of a lease and of router advertisements is taken.
fn offers(text: &mut String, interface: &Interface, named: bool) {
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let (routes, dns) = (
        word(interface.dhcp_use_routes),
        word(interface.dhcp_use_dns),
    );
    if interface.dhcp4 {
        text.push_str("\n[DHCPv4]\n");
        line(text, "UseRoutes", routes);
        line(text, "UseGateway", routes);
        line(text, "UseDNS", dns);
        if named {
            // The name that the host gave wins over the one that a lease brings.
            text.push_str("UseHostname=no\n");
        }
    }
    if interface.dhcp6 {
        text.push_str("\n[DHCPv6]\nWithoutRA=solicit\n");
        line(text, "UseDNS", dns);
        if named {
            text.push_str("UseHostname=no\n");
        }
    }
    text.push_str("\n[IPv6AcceptRA]\n");
    line(text, "UseGateway", routes);
    line(text, "UseRoutePrefix", routes);
    line(text, "UseDNS", dns);
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key}={value}");
}

#[cfg(test)]
mod tests;
