//! The host's listeners: the well-known ports and what the user adds.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::net::SocketAddr,
    path::Path,
};

use super::word;
use crate::config::{
    cluster::{ForwardProtocol, ForwardSpec},
    draft::{Base, Draft, DraftForward, HostPlace, PortChoice, WELL_KNOWN, WellKnown},
    place::{Place, Placed, place_of},
    problem::Problem,
};

/// Forwards of one cluster.
const MOST_FORWARDS: usize = 64;
/// Addresses that one forward listens on.
const MOST_ADDRESSES: usize = 16;
/// Where the far side of a forward is unless told otherwise.
pub(super) const FORWARD_LOOPBACK: &str = "127.0.0.1";
/// Ports below this one need a privilege.
const FIRST_UNPRIVILEGED: u16 = 1024;

pub(super) fn decide(
    draft: &Draft,
    index: u8,
    index_place: &Place,
    warnings: &mut Vec<String>,
) -> Result<(Vec<ForwardSpec>, Vec<Place>), Problem> {
    let mut forwards = Vec::new();
    let mut places = Vec::new();
    for (known, said) in WELL_KNOWN.iter().zip(&draft.ports) {
        if let Some(host_port) = well_known_port(known, said.as_ref(), index)? {
            let (protocol, guest_host, guest_port) = match known.guest {
                Some(port) => (ForwardProtocol::Tcp, FORWARD_LOOPBACK, port),
                None => (ForwardProtocol::Socks, "", 0),
            };
            forwards.push(ForwardSpec {
                name: known.name.to_owned(),
                protocol,
                socket: None,
                bind: loopback(),
                host_port,
                guest_host: guest_host.to_owned(),
                guest_port,
            });
            places.push(place_of(said.as_ref(), index_place));
        }
    }
    if draft.forwards.len() > MOST_FORWARDS {
        let place = &draft.forwards[MOST_FORWARDS].place;
        return Err(Problem::at(
            place,
            format!("more than {MOST_FORWARDS} forwards"),
        ));
    }
    for said in &draft.forwards {
        let (forward, place) = decide_one(said)?;
        refuse_clash(&forward, &place, said, &forwards, &places)?;
        forwards.push(forward);
        places.push(place);
    }
    forwards
        .iter()
        .for_each(|forward| warn_of(forward, warnings));
    if forwards
        .iter()
        .all(|forward| forward.name != ForwardSpec::API)
    {
        warnings.push("without a port for `api` there is no kubeconfig for this host".to_owned());
    }
    Ok((forwards, places))
}

/// Where a forward listens unless the user names addresses.
fn loopback() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

fn well_known_port(
    known: &WellKnown,
    said: Option<&Placed<PortChoice>>,
    index: u8,
) -> Result<Option<u16>, Problem> {
    match said {
        None => Ok(known.by_default().then_some(known.host + u16::from(index))),
        Some(said) => match said.value {
            PortChoice::Usual => Ok(Some(known.host + u16::from(index))),
            PortChoice::Off => Ok(None),
            PortChoice::Port(number) => port(number, &said.place).map(Some),
        },
    }
}

pub(super) fn port(number: i64, place: &Place) -> Result<u16, Problem> {
    u16::try_from(number)
        .ok()
        .filter(|&port| port > 0)
        .ok_or_else(|| {
            Problem::at(
                place,
                format!("{number} is not a port: they go from 1 to 65535"),
            )
        })
}

fn decide_one(said: &DraftForward) -> Result<(ForwardSpec, Place), Problem> {
    let protocol = word(
        said.protocol.as_ref(),
        ForwardProtocol::ALL,
        ForwardProtocol::as_str,
    )?
    .unwrap_or_default();
    let name = said.name.as_ref().map(forward_name).transpose()?;
    let forward = match &said.host {
        Some(Placed {
            value: HostPlace::Socket(path),
            place,
        }) => on_socket(said, protocol, name, path, place)?,
        Some(Placed {
            value: HostPlace::Port(number),
            place,
        }) => on_port(said, protocol, name, Some(port(*number, place)?))?,
        None => on_port(said, protocol, name, None)?,
    };
    if forward.name == ForwardSpec::API
        && (protocol != ForwardProtocol::Tcp || forward.socket.is_some())
    {
        let host = place_of(said.host.as_ref(), &said.place);
        let place = place_of(said.protocol.as_ref(), &host);
        return Err(Problem::at(
            &place,
            "the forward `api` is one of TCP on a port",
        ));
    }
    let guest_place = place_of(said.guest.as_ref(), &said.place);
    Ok((forward, place_of(said.host.as_ref(), &guest_place)))
}

fn on_port(
    said: &DraftForward,
    protocol: ForwardProtocol,
    name: Option<String>,
    host: Option<u16>,
) -> Result<ForwardSpec, Problem> {
    let (host_port, guest_host, guest_port) = match protocol {
        ForwardProtocol::Tcp | ForwardProtocol::Udp => ports(said, host)?,
        ForwardProtocol::Socks => (socks_port(said, host)?, String::new(), 0),
    };
    let bind = said
        .bind
        .as_deref()
        .map(|bind| addresses(bind, &said.place))
        .transpose()?;
    Ok(ForwardSpec {
        name: name.unwrap_or_else(|| protocol.usual_name(host_port)),
        protocol,
        socket: None,
        bind: bind.unwrap_or_else(loopback),
        host_port,
        guest_host,
        guest_port,
    })
}

fn on_socket(
    said: &DraftForward,
    protocol: ForwardProtocol,
    name: Option<String>,
    path: &Path,
    place: &Place,
) -> Result<ForwardSpec, Problem> {
    if protocol != ForwardProtocol::Tcp {
        let place = place_of(said.protocol.as_ref(), place);
        let message = format!("a forward of {protocol} cannot listen on a unix socket");
        return Err(Problem::at(&place, message));
    }
    if let Some(bind) = &said.bind {
        let place = bind.first().map_or(place, |first| &first.place);
        return Err(Problem::at(place, "a unix socket has no address").help("remove `bind`"));
    }
    if SocketAddr::from_pathname(path).is_err() {
        let message = format!("{} is too long for a socket's path", path.display());
        return Err(Problem::at(place, message).help("the longest have about a hundred bytes"));
    }
    let Some(guest) = &said.guest else {
        return Err(
            Problem::at(&said.place, "a forward on a unix socket needs a target")
                .help("write guest = 5432"),
        );
    };
    let (guest_host, guest_port) = guest_target(guest)?;
    let Some(name) = name.or_else(|| ForwardSpec::usual_socket_name(path)) else {
        return Err(
            Problem::at(&said.place, "a forward on this socket needs a name")
                .help("write name = \"db\""),
        );
    };
    Ok(ForwardSpec {
        name,
        protocol,
        socket: Some(path.to_owned()),
        bind: Vec::new(),
        host_port: 0,
        guest_host,
        guest_port,
    })
}

/// The port of the host, and the target in the guest.
fn ports(said: &DraftForward, host: Option<u16>) -> Result<(u16, String, u16), Problem> {
    let guest = said.guest.as_ref().map(guest_target).transpose()?;
    match (host, guest) {
        (Some(host), Some((guest_host, guest))) => Ok((host, guest_host, guest)),
        (Some(host), None) => Ok((host, FORWARD_LOOPBACK.to_owned(), host)),
        (None, Some((guest_host, guest))) => Ok((guest, guest_host, guest)),
        (None, None) => Err(Problem::at(
            &said.place,
            "a forward needs the port of the host or of the guest",
        )
        .help("write host = 5432, and guest = 5432 if it differs")),
    }
}

fn socks_port(said: &DraftForward, host: Option<u16>) -> Result<u16, Problem> {
    if let Some(guest) = &said.guest {
        let message = "a forward of SOCKS has no target: its clients name theirs";
        return Err(Problem::at(&guest.place, message).help("remove `guest`"));
    }
    host.ok_or_else(|| {
        Problem::at(&said.place, "a forward of SOCKS needs a port of the host")
            .help("write host = 1080")
    })
}

pub(super) fn forward_name(said: &Placed<String>) -> Result<String, Problem> {
    let name = &said.value;
    if ForwardSpec::is_name(name) {
        return Ok(name.clone());
    }
    let message = format!("`{name}` cannot name a forward");
    Err(Problem::at(&said.place, message)
        .help("a name has at most 40 of a-z, 0-9 and -, and begins with a letter"))
}

fn addresses(said: &[Placed<String>], forward: &Place) -> Result<Vec<IpAddr>, Problem> {
    if said.is_empty() {
        return Err(
            Problem::at(forward, "a forward without an address listens nowhere")
                .help("remove `bind`, or name an address"),
        );
    }
    if let Some(first_over) = said.get(MOST_ADDRESSES) {
        return Err(Problem::at(
            &first_over.place,
            format!("more than {MOST_ADDRESSES} addresses"),
        ));
    }
    let mut addresses = Vec::new();
    for said in said {
        let text = &said.value;
        let address: IpAddr = text
            .parse()
            .map_err(|_| Problem::at(&said.place, format!("`{text}` is not an IP address")))?;
        if address.is_multicast() {
            return Err(Problem::at(
                &said.place,
                format!("{address} is a multicast address"),
            ));
        }
        if addresses.contains(&address) {
            return Err(Problem::at(
                &said.place,
                format!("{address} is named twice"),
            ));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn guest_target(said: &Placed<String>) -> Result<(String, u16), Problem> {
    let text = &said.value;
    host_and_port(text).ok_or_else(|| {
        Problem::at(
            &said.place,
            format!("`{text}` is not a target in the guest"),
        )
        .help("a target is a port, ADDRESS:PORT or [IPV6]:PORT")
    })
}

/// `PORT`, `HOST:PORT` or `[IPV6]:PORT`.
pub(super) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, number) = match text.rsplit_once(':') {
        None => (FORWARD_LOOPBACK, text),
        Some((host, number)) => (host, number),
    };
    let in_brackets = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let sound = match in_brackets {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => is_host_name(host),
    };
    let number = number.parse::<u16>().ok().filter(|&port| port > 0);
    let number = number.filter(|_| sound)?;
    Some((in_brackets.unwrap_or(host).to_owned(), number))
}

fn is_host_name(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(legal)
        })
}

fn refuse_clash(
    forward: &ForwardSpec,
    place: &Place,
    said: &DraftForward,
    earlier: &[ForwardSpec],
    places: &[Place],
) -> Result<(), Problem> {
    for (other, other_place) in earlier.iter().zip(places) {
        if forward.name == other.name {
            let message = format!("two forwards have the name `{}`", forward.name);
            let name_place = place_of(said.name.as_ref(), place);
            return Err(Problem::at(&name_place, message).and_at(other_place, "the other one"));
        }
        if forward.listens_where(other) {
            let (listener, name, other) = (forward.place(), &forward.name, &other.name);
            let message = format!("the forwards `{other}` and `{name}` have the same {listener}");
            return Err(Problem::at(place, message).and_at(other_place, "the other one"));
        }
    }
    Ok(())
}

fn warn_of(forward: &ForwardSpec, warnings: &mut Vec<String>) {
    let ForwardSpec {
        name, host_port, ..
    } = forward;
    if forward.socket.is_none() && *host_port < FIRST_UNPRIVILEGED {
        warnings.push(format!(
            "the host port {host_port} of `{name}` is below {FIRST_UNPRIVILEGED}: only root may listen there unless the system says otherwise"
        ));
    }
    for address in forward.bind.iter().filter(|address| !address.is_loopback()) {
        warnings.push(format!(
            "`{name}` listens on {address}: everyone who reaches that address reaches the guest"
        ));
    }
}

/// Reads a forward from one argument:
/// `[NAME=][ADDRESS:]HOST_PORT[:[GUEST_HOST:]GUEST_PORT][/PROTOCOL]`, IPv6 addresses in brackets, or
/// `[NAME=]unix:PATH:[GUEST_HOST:]GUEST_PORT`, the path without a colon.
pub(in crate::config) fn forward_argument(
    text: &str,
    place: &Place,
    base: &Base<'_>,
) -> Result<DraftForward, Problem> {
    let said = |value: &str| Placed::new(value.to_owned(), place.clone());
    let (name, ports) = match text.split_once('=') {
        Some((name, ports)) => (Some(said(name)), ports),
        None => (None, text),
    };
    let unreadable = || {
        Problem::at(place, format!("`{text}` is not a forward"))
            .help("write HOST_PORT:GUEST_PORT, as in 5432:5432, with NAME= and a listening ADDRESS: before it and /udp or /socks behind it if needed")
    };
    if let Some(socket) = ports.strip_prefix(ForwardSpec::UNIX) {
        let (path, guest) = socket
            .split_once(':')
            .filter(|(path, _)| !path.is_empty())
            .ok_or_else(|| {
                Problem::at(place, format!("`{text}` is not a forward"))
                    .help("write unix:PATH:GUEST_PORT, as in unix:db.sock:5432")
            })?;
        let path = base.resolve(Path::new(path));
        return Ok(DraftForward {
            place: place.clone(),
            name,
            host: Some(Placed::new(HostPlace::Socket(path), place.clone())),
            guest: Some(said(guest)),
            bind: None,
            protocol: None,
        });
    }
    let (ports, protocol) = match ports.rsplit_once('/') {
        Some((ports, protocol)) => (ports, Some(said(protocol))),
        None => (ports, None),
    };
    let parts = split_outside_brackets(ports);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (bind, rest) = match parts.as_slice() {
        [first, rest @ ..] if is_number(first) => (None, (*first, rest)),
        [bind, host, rest @ ..] if is_number(host) => (Some(*bind), (*host, rest)),
        _ => return Err(unreadable()),
    };
    let (host, guest) = match rest {
        (host, []) => (host, None),
        (host, [guest]) => (host, Some(said(guest))),
        (host, [guest_host, guest]) => (host, Some(said(&format!("{guest_host}:{guest}")))),
        _ => return Err(unreadable()),
    };
    let host = host.parse::<i64>().map_err(|_| unreadable())?;
    let bind = bind.map(|bind| vec![said(bind.trim_start_matches('[').trim_end_matches(']'))]);
    let host = Some(Placed::new(HostPlace::Port(host), place.clone()));
    Ok(DraftForward {
        place: place.clone(),
        name,
        host,
        guest,
        bind,
        protocol,
    })
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|character: char| {
        match character {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        character == ':' && !inside
    })
    .collect()
}
