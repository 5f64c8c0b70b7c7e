//! Forwards as people write them: `5432`, `15432:5432`, `db=15432:10.43.0.20:5432`, `5353:53/udp`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::config::{ForwardProtocol, ForwardSpec};

/// A forward without the addresses it listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardArg {
    /// What the user calls it.
    pub name: Option<String>,
    /// What passes through it.
    pub protocol: ForwardProtocol,
    /// Port on the host.
    pub host_port: u16,
    /// Address in the guest.
    pub guest_host: String,
    /// Port in the guest.
    pub guest_port: u16,
}

impl ForwardArg {
    /// The forward that listens on `bind`, or on both loopback addresses. Without a name it is
    /// called after its port on the host.
    #[must_use]
    pub fn to_spec(&self, bind: Option<IpAddr>) -> ForwardSpec {
        let loopback = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        ForwardSpec {
            name: self
                .name
                .clone()
                .unwrap_or_else(|| self.protocol.usual_name(self.host_port)),
            protocol: self.protocol,
            bind: bind.map_or_else(loopback, |address| vec![address]),
            host_port: self.host_port,
            guest_host: self.guest_host.clone(),
            guest_port: self.guest_port,
        }
    }
}

impl FromStr for ForwardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, ports) = match text.split_once('=') {
            Some((name, ports)) => (Some(forward_name(name)?), ports),
            None => (None, text),
        };
        let (ports, protocol) = match ports.rsplit_once('/') {
            Some((ports, word)) => (ports, forward_protocol(word, text)?),
            None => (ports, ForwardProtocol::Tcp),
        };
        if protocol == ForwardProtocol::Socks {
            if ports.contains(':') {
                return Err(format!(
                    "`{text}` has a target, which the clients of SOCKS name themselves"
                ));
            }
            return Ok(Self {
                name,
                protocol,
                host_port: port(ports, text)?,
                guest_host: String::new(),
                guest_port: 0,
            });
        }
        let to_guest = |host_port, guest_port| Self {
            name: name.clone(),
            protocol,
            host_port,
            guest_host: Ipv4Addr::LOCALHOST.to_string(),
            guest_port,
        };
        let Some((host_port, target)) = ports.split_once(':') else {
            let port = port(ports, text)?;
            return Ok(to_guest(port, port));
        };
        let host_port = port(host_port, text)?;
        let Some((guest_host, guest_port)) = target.rsplit_once(':') else {
            return Ok(to_guest(host_port, port(target, text)?));
        };
        let bare = guest_host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let address = bare.unwrap_or(guest_host);
        if address != "localhost" && address.parse::<IpAddr>().is_err() {
            return Err(format!(
                "`{guest_host}` in `{text}` is not an IP address of the guest, its services or its pods"
            ));
        }
        if bare.is_none() && address.contains(':') {
            return Err(format!(
                "put the IPv6 address of `{text}` into brackets: {host_port}:[{guest_host}]:{guest_port}"
            ));
        }
        Ok(Self {
            guest_host: address.to_owned(),
            ..to_guest(host_port, port(guest_port, text)?)
        })
    }
}

impl fmt::Display for ForwardArg {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(formatter, "{name}=")?;
        }
        let Self {
            host_port,
            guest_host,
            guest_port,
            ..
        } = self;
        if self.protocol == ForwardProtocol::Socks {
            write!(formatter, "{host_port}")?;
        } else if guest_host.contains(':') {
            write!(formatter, "{host_port}:[{guest_host}]:{guest_port}")?;
        } else {
            write!(formatter, "{host_port}:{guest_host}:{guest_port}")?;
        }
        match self.protocol {
            ForwardProtocol::Tcp => Ok(()),
            ForwardProtocol::Udp | ForwardProtocol::Socks => {
                write!(formatter, "/{}", self.protocol)
            }
        }
    }
}

fn forward_protocol(word: &str, whole: &str) -> Result<ForwardProtocol, String> {
    let known = ForwardProtocol::ALL.iter().copied();
    let found = { known }.find(|protocol| protocol.as_str() == word);
    found.ok_or_else(|| format!("`{word}` in `{whole}` is none of tcp, udp and socks"))
}

fn forward_name(name: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let begins_well = name.starts_with(|first: char| first.is_ascii_lowercase());
    if begins_well && name.len() <= 40 && name.bytes().all(legal) {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "`{name}` is not a name of a forward: at most 40 of a-z, 0-9 and -, a letter first"
        ))
    }
}

fn port(digits: &str, whole: &str) -> Result<u16, String> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if plain && port != 0 => Ok(port),
        _ if digits == whole => Err(format!(
            "`{whole}` is not a port from 1 to 65535, nor HOST:GUEST, nor HOST:ADDRESS:GUEST"
        )),
        _ => Err(format!(
            "`{digits}` in `{whole}` is not a port from 1 to 65535"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read() {
        let read = |text: &str| {
            let forward: ForwardArg = text.parse().unwrap();
            (forward.host_port, forward.guest_host, forward.guest_port)
        };
        assert_eq!(read("5432"), (5432, "127.0.0.1".into(), 5432));
        assert_eq!(read("15432:5432"), (15432, "127.0.0.1".into(), 5432));
        assert_eq!(
            read("15432:10.43.0.20:5432"),
            (15432, "10.43.0.20".into(), 5432)
        );
        assert_eq!(read("80:[fd00::1]:8080"), (80, "fd00::1".into(), 8080));
        assert_eq!(read("80:localhost:8080"), (80, "localhost".into(), 8080));
        assert_eq!(read("db=15432:5432"), (15432, "127.0.0.1".into(), 5432));
        assert_eq!(read("5353:53/udp"), (5353, "127.0.0.1".into(), 53));
        assert_eq!(read("53/tcp"), (53, "127.0.0.1".into(), 53));
        let udp: ForwardArg = "5353:10.43.0.10:53/udp".parse().unwrap();
        assert_eq!(udp.protocol, ForwardProtocol::Udp);
        assert_eq!(udp.to_spec(None).name, "udp-5353");
    }

    #[test]
    fn what_is_no_forward_is_refused_with_a_reason() {
        let reasons: Vec<_> = [
            "",
            "0",
            "65536",
            "+80",
            "80:",
            ":80",
            "80:x:80",
            "80:fd00::1:80",
            "80:10.0.0.1:",
            "a:b",
            "DB=1",
            "=1",
            "db=",
            "53/sctp",
            "1080:80/socks",
            "/udp",
        ]
        .iter()
        .map(|text| match text.parse::<ForwardArg>() {
            Ok(forward) => panic!("{text} was taken for {forward:?}"),
            Err(reason) => format!("{text}: {reason}"),
        })
        .collect();
        insta::assert_snapshot!(reasons.join("\n"), @"
        : `` is not a port from 1 to 65535, nor HOST:GUEST, nor HOST:ADDRESS:GUEST
        0: `0` is not a port from 1 to 65535, nor HOST:GUEST, nor HOST:ADDRESS:GUEST
        65536: `65536` is not a port from 1 to 65535, nor HOST:GUEST, nor HOST:ADDRESS:GUEST
        +80: `+80` is not a port from 1 to 65535, nor HOST:GUEST, nor HOST:ADDRESS:GUEST
        80:: `` in `80:` is not a port from 1 to 65535
        :80: `` in `:80` is not a port from 1 to 65535
        80:x:80: `x` in `80:x:80` is not an IP address of the guest, its services or its pods
        80:fd00::1:80: put the IPv6 address of `80:fd00::1:80` into brackets: 80:[fd00::1]:80
        80:10.0.0.1:: `` in `80:10.0.0.1:` is not a port from 1 to 65535
        a:b: `a` in `a:b` is not a port from 1 to 65535
        DB=1: `DB` is not a name of a forward: at most 40 of a-z, 0-9 and -, a letter first
        =1: `` is not a name of a forward: at most 40 of a-z, 0-9 and -, a letter first
        db=: `` in `db=` is not a port from 1 to 65535
        53/sctp: `sctp` in `53/sctp` is none of tcp, udp and socks
        1080:80/socks: `1080:80/socks` has a target, which the clients of SOCKS name themselves
        /udp: `` in `/udp` is not a port from 1 to 65535
        ");
    }

    #[test]
    fn forwards_survive_being_written() {
        for text in [
            "80:127.0.0.1:80",
            "db=80:[fd00::1]:8080",
            "dns=53:10.43.0.10:53/udp",
            "1080/socks",
        ] {
            assert_eq!(text.parse::<ForwardArg>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn loopback_of_both_families_unless_told_otherwise() {
        let forward: ForwardArg = "80".parse().unwrap();
        assert!(forward.to_spec(None).bind.iter().all(IpAddr::is_loopback));
        assert_eq!(forward.to_spec(None).bind.len(), 2);
        let everywhere = Ipv4Addr::UNSPECIFIED.into();
        assert_eq!(forward.to_spec(Some(everywhere)).bind, [everywhere]);
    }
}
