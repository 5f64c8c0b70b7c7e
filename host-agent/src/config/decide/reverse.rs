//! The guest's listeners that lead to this host.

use std::net::{IpAddr, Ipv4Addr};

use lkc_protocol::message::k3s_use_of;

use super::forwards::{FORWARD_LOOPBACK, forward_name, host_and_port, port};
use crate::config::{
    cluster::{ForwardProtocol, ForwardSpec, K3sSpec},
    collision::overlap,
    draft::{Draft, DraftReverse, UNIX},
    place::{Place, Placed, place_of},
    problem::Problem,
    reverse::{HostTarget, ReverseSpec},
};

/// Reverse forwards of one cluster: half of what a guest allows one link, so that all of them can
/// be exchanged for others.
const MOST_REVERSE: usize = 32;

/// Longest path of a unix socket in bytes, as the kernels of Linux and macOS have it.
const LONGEST_SOCKET: usize = 103;

/// The word for the address of the node.
const NODE: &str = "node";

/// Ports that services of type NodePort get.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// What of the cluster has to be known to decide its reverse forwards.
pub(super) struct Known<'a> {
    pub(super) node: IpAddr,
    pub(super) forwards: &'a [ForwardSpec],
    pub(super) forward_places: &'a [Place],
    pub(super) k3s: &'a K3sSpec,
}

pub(super) fn decide(
    draft: &Draft,
    known: &Known<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<ReverseSpec>, Problem> {
    if let Some(first_over) = draft.reverse.get(MOST_REVERSE) {
        let message = format!("more than {MOST_REVERSE} reverse forwards");
        return Err(Problem::at(&first_over.place, message));
    }
    let mut decided: Vec<(ReverseSpec, Place)> = Vec::new();
    for said in &draft.reverse {
        let (reverse, place) = decide_one(said, known.node)?;
        refuse_k3s_port(&reverse, &place, known.k3s)?;
        refuse_clash(&reverse, &place, said, &decided)?;
        refuse_beside_forwards(&reverse, &place, said, known)?;
        warn_of(&reverse, warnings);
        decided.push((reverse, place));
    }
    Ok(decided.into_iter().map(|(reverse, _)| reverse).collect())
}

fn decide_one(said: &DraftReverse, node: IpAddr) -> Result<(ReverseSpec, Place), Problem> {
    let guest = said
        .guest
        .as_ref()
        .map(|guest| port(guest.value, &guest.place))
        .transpose()?;
    let target = said.host.as_ref().map(host_target).transpose()?;
    let (guest_port, target) = match (guest, target) {
        (Some(guest), Some(target)) => (guest, target),
        (Some(port), None) => (port, loopback(port)),
        (None, Some(HostTarget::Tcp { host, port })) => (port, HostTarget::Tcp { host, port }),
        (None, Some(HostTarget::Unix(_)) | None) => {
            let message = "a reverse forward needs the port that the guest listens on";
            return Err(Problem::at(&said.place, message)
                .help("write guest = 5000, and host = 5000 if it differs"));
        }
    };
    let bind = match &said.bind {
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(bind) if bind.value == NODE => node,
        Some(bind) => guest_address(bind)?,
    };
    let name = match &said.name {
        None => format!("reverse-{guest_port}"),
        Some(name) => forward_name(name)?,
    };
    let reverse = ReverseSpec {
        name,
        bind,
        guest_port,
        target,
    };
    let host_place = place_of(said.host.as_ref(), &said.place);
    Ok((reverse, place_of(said.guest.as_ref(), &host_place)))
}

fn loopback(port: u16) -> HostTarget {
    let host = FORWARD_LOOPBACK.to_owned();
    HostTarget::Tcp { host, port }
}

/// `PORT`, `HOST:PORT`, `[IPV6]:PORT` or `unix:PATH`.
fn host_target(said: &Placed<String>) -> Result<HostTarget, Problem> {
    let text = &said.value;
    let Some(path) = text.strip_prefix(UNIX) else {
        let (host, port) = host_and_port(text).ok_or_else(|| {
            Problem::at(
                &said.place,
                format!("`{text}` is not a target on this host"),
            )
            .help("a target is a port, ADDRESS:PORT, [IPV6]:PORT or unix:PATH")
        })?;
        return Ok(HostTarget::Tcp { host, port });
    };
    let wrong = |message: String| Err(Problem::at(&said.place, message));
    if path.is_empty() || path.contains('\0') {
        return wrong("this is not the path of a socket".to_owned());
    }
    if path.len() > LONGEST_SOCKET {
        return wrong(format!(
            "the path of a unix socket has at most {LONGEST_SOCKET} bytes"
        ));
    }
    Ok(HostTarget::Unix(path.into()))
}

fn guest_address(said: &Placed<String>) -> Result<IpAddr, Problem> {
    let text = &said.value;
    let wrong = |message: String| {
        Problem::at(&said.place, message)
            .help("write an address of the guest, \"node\" for the node's, or \"0.0.0.0\" for all")
    };
    let address: IpAddr = text
        .parse()
        .map_err(|_| wrong(format!("`{text}` is not an IP address")))?;
    if address.is_multicast() {
        return Err(wrong(format!("{address} is a multicast address")));
    }
    Ok(address)
}

fn refuse_k3s_port(reverse: &ReverseSpec, place: &Place, k3s: &K3sSpec) -> Result<(), Problem> {
    let port = reverse.guest_port;
    let message = match k3s_use_of(port) {
        Some(what) => format!("port {port} of the guest is for k3s: {what}"),
        None => {
            let told = |setting: &&String| {
                let told = setting.split_once('=');
                told.is_some_and(|(key, value)| key.ends_with("port") && value.parse() == Ok(port))
            };
            match k3s.settings.iter().find(told) {
                Some(setting) => format!("port {port} of the guest is for k3s: `{setting}`"),
                None => return Ok(()),
            }
        }
    };
    Err(Problem::at(place, message).help("write another port for `guest`"))
}

fn refuse_clash(
    reverse: &ReverseSpec,
    place: &Place,
    said: &DraftReverse,
    earlier: &[(ReverseSpec, Place)],
) -> Result<(), Problem> {
    for (other, other_place) in earlier {
        let (port, name) = (reverse.guest_port, &reverse.name);
        if *name == other.name {
            let message = format!("two reverse forwards have the name `{name}`");
            let name_place = place_of(said.name.as_ref(), place);
            return Err(Problem::at(&name_place, message).and_at(other_place, "the other one"));
        }
        if port == other.guest_port && overlap(reverse.bind, other.bind) {
            let message = format!(
                "the reverse forwards `{}` and `{name}` have the same guest port {port}",
                other.name
            );
            return Err(Problem::at(place, message).and_at(other_place, "the other one"));
        }
    }
    Ok(())
}

/// A forward of the same name could not be told from it, and one that leads back into it would
/// carry each connection round for ever.
fn refuse_beside_forwards(
    reverse: &ReverseSpec,
    place: &Place,
    said: &DraftReverse,
    known: &Known<'_>,
) -> Result<(), Problem> {
    for (forward, forward_place) in known.forwards.iter().zip(known.forward_places) {
        if forward.name == reverse.name {
            let message = format!("a forward has the name `{}` too", reverse.name);
            let name_place = place_of(said.name.as_ref(), place);
            return Err(Problem::at(&name_place, message).and_at(forward_place, "the forward"));
        }
        if leads_into(reverse, forward) && leads_back(forward, reverse, known.node) {
            let message = format!(
                "`{}` leads to the forward `{}`, which leads back to it",
                reverse.name, forward.name
            );
            let host_place = place_of(said.host.as_ref(), place);
            return Err(Problem::at(&host_place, message).and_at(forward_place, "the forward"));
        }
    }
    Ok(())
}

/// Whether the target of `reverse` is the listener of `forward`, as far as that can be told.
fn leads_into(reverse: &ReverseSpec, forward: &ForwardSpec) -> bool {
    let (host, port) = match &reverse.target {
        HostTarget::Tcp { host, port } => (host, port),
        HostTarget::Unix(path) => return forward.socket.as_ref() == Some(path),
    };
    let reached = |bind: &IpAddr| match host.parse::<IpAddr>() {
        Ok(address) => *bind == address || (bind.is_unspecified() && address.is_loopback()),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    forward.protocol == ForwardProtocol::Tcp
        && *port == forward.host_port
        && forward.bind.iter().any(reached)
}

/// Whether the target of `forward` is the listener of `reverse`.
fn leads_back(forward: &ForwardSpec, reverse: &ReverseSpec, node: IpAddr) -> bool {
    let reached = match forward.guest_host.parse::<IpAddr>() {
        Ok(address) => overlap(reverse.bind, address),
        Err(_) if forward.guest_host.eq_ignore_ascii_case("localhost") => {
            reverse.bind.is_loopback() || reverse.bind.is_unspecified()
        }
        Err(_) => reverse.bind == node || reverse.bind.is_unspecified(),
    };
    forward.guest_port == reverse.guest_port && reached
}

fn warn_of(reverse: &ReverseSpec, warnings: &mut Vec<String>) {
    let ReverseSpec {
        name,
        bind,
        guest_port,
        target,
    } = reverse;
    if bind.is_unspecified() {
        warnings.push(format!(
            "`{name}` listens on every address of the guest: everyone who reaches one of them reaches {target} of this host"
        ));
    }
    if NODE_PORTS.contains(guest_port) {
        warnings.push(format!(
            "the guest port {guest_port} of `{name}` is in the range of NodePort services, one of which may take its connections"
        ));
    }
}
