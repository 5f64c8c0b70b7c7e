//! Forwards as people write them: `5432`, `15432:5432`, `db=15432:10.43.0.20:5432`, `5353:53/udp`,
//! `unix:db.sock:5432`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
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
    /// Where it listens on the host.
    pub host: HostArg,
    /// Address in the guest.
    pub guest_host: String,
    /// Port in the guest.
    pub guest_port: u16,
}

/// Where a forward listens on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostArg {
    /// A port.
    Port(u16),
    /// A unix socket, its path as it was typed.
    Socket(PathBuf),
}

impl ForwardArg {
    /// The forward that listens on `bind`, or on both loopback addresses. Without a name it is
    /// called after its port on the host or its socket, whose path `resolve` makes absolute.
    ///
    /// # Errors
    /// Why it cannot be, for people.
    pub fn to_spec(
        &self,
        bind: Option<IpAddr>,
        resolve: impl Fn(&Path) -> PathBuf,
    ) -> Result<ForwardSpec, String> {
        let loopback = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let (usual_name, socket, bind, host_port) = match &self.host {
            HostArg::Port(port) => {
                let bind = bind.map_or_else(loopback, |address| vec![address]);
                (Some(self.protocol.usual_name(*port)), None, bind, *port)
            }
            HostArg::Socket(_) if bind.is_some() => {
                return Err("a unix socket has no address to listen on".to_owned());
            }
            HostArg::Socket(path) => {
                let path = resolve(path);
                let name = ForwardSpec::usual_socket_name(&path);
                (name, Some(path), Vec::new(), 0)
            }
        };
        let name = self.name.clone().or(usual_name);
        Ok(ForwardSpec {
            name: name.ok_or_else(|| format!("`{self}` needs a name: NAME={self}"))?,
            protocol: self.protocol,
            socket,
            bind,
            host_port,
            guest_host: self.guest_host.clone(),
            guest_port: self.guest_port,
        })
    }

    /// Whether this text is meant for a forward rather than for a name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains('=')
            || text.starts_with(ForwardSpec::UNIX)
            || !text.starts_with(|first: char| first.is_ascii_alphabetic())
    }
}

impl FromStr for ForwardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, ports) = match text.split_once('=') {
            Some((name, ports)) => (Some(forward_name(name)?), ports),
            None => (None, text),
        };
        if let Some(socket) = ports.strip_prefix(ForwardSpec::UNIX) {
            let Some((path, target)) = socket.split_once(':').filter(|(path, _)| !path.is_empty())
            else {
                return Err(format!(
                    "`{text}` is not unix:PATH:GUEST nor unix:PATH:ADDRESS:GUEST"
                ));
            };
            let (guest_host, guest_port) = guest_target(target, text)?;
            return Ok(Self {
                name,
                protocol: ForwardProtocol::Tcp,
                host: HostArg::Socket(PathBuf::from(path)),
                guest_host,
                guest_port,
            });
        }
        let (ports, protocol) = match ports.rsplit_once('/') {
            Some((ports, word)) => (ports, forward_protocol(word, text)?),
            None => (ports, ForwardProtocol::Tcp),
        };
        let (host_port, target) = match ports.split_once(':') {
            Some((host_port, target)) => (port(host_port, text)?, Some(target)),
            None => (port(ports, text)?, None),
        };
        let (guest_host, guest_port) = match (protocol, target) {
            (ForwardProtocol::Socks, None) => (String::new(), 0),
            (ForwardProtocol::Socks, Some(_)) => {
                return Err(format!(
                    "`{text}` has a target, which the clients of SOCKS name themselves"
                ));
            }
            (_, None) => (Ipv4Addr::LOCALHOST.to_string(), host_port),
            (_, Some(target)) => guest_target(target, text)?,
        };
        Ok(Self {
            name,
            protocol,
            host: HostArg::Port(host_port),
            guest_host,
            guest_port,
        })
    }
}

/// `PORT`, `ADDRESS:PORT` or `[IPV6]:PORT`.
fn guest_target(target: &str, whole: &str) -> Result<(String, u16), String> {
    let Some((host, guest_port)) = target.rsplit_once(':') else {
        return Ok((Ipv4Addr::LOCALHOST.to_string(), port(target, whole)?));
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address = bare.unwrap_or(host);
    if address != "localhost" && address.parse::<IpAddr>().is_err() {
        return Err(format!(
            "`{host}` in `{whole}` is not an IP address of the guest, its services or its pods"
        ));
    }
    if bare.is_none() && address.contains(':') {
        return Err(format!(
            "put the IPv6 address of `{whole}` into brackets: [{host}]:{guest_port}"
        ));
    }
    Ok((address.to_owned(), port(guest_port, whole)?))
}

impl fmt::Display for ForwardArg {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(formatter, "{name}=")?;
        }
        match &self.host {
            HostArg::Port(port) => write!(formatter, "{port}")?,
            HostArg::Socket(path) => write!(formatter, "{}{}", ForwardSpec::UNIX, path.display())?,
        }
        let (host, port) = (&self.guest_host, self.guest_port);
        match self.protocol {
            ForwardProtocol::Socks => {}
            _ if host.contains(':') => write!(formatter, ":[{host}]:{port}")?,
            _ => write!(formatter, ":{host}:{port}")?,
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
    if ForwardSpec::is_name(name) {
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

    fn spec(forward: &ForwardArg, bind: Option<IpAddr>) -> ForwardSpec {
        let resolve = |path: &Path| Path::new("/p").join(path);
        forward.to_spec(bind, resolve).unwrap()
    }

    #[test]
    fn forwards_are_read() {
        let read = |text: &str| {
            let forward: ForwardArg = text.parse().unwrap();
            let HostArg::Port(host_port) = forward.host else {
                panic!("{forward:?}");
            };
            (host_port, forward.guest_host, forward.guest_port)
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
        assert_eq!(spec(&udp, None).name, "udp-5353");
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
            "unix:/run/db.sock",
            "unix::5432",
            "unix:/run/db.sock:x",
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
        80:fd00::1:80: put the IPv6 address of `80:fd00::1:80` into brackets: [fd00::1]:80
        80:10.0.0.1:: `` in `80:10.0.0.1:` is not a port from 1 to 65535
        a:b: `a` in `a:b` is not a port from 1 to 65535
        DB=1: `DB` is not a name of a forward: at most 40 of a-z, 0-9 and -, a letter first
        =1: `` is not a name of a forward: at most 40 of a-z, 0-9 and -, a letter first
        db=: `` in `db=` is not a port from 1 to 65535
        53/sctp: `sctp` in `53/sctp` is none of tcp, udp and socks
        1080:80/socks: `1080:80/socks` has a target, which the clients of SOCKS name themselves
        /udp: `` in `/udp` is not a port from 1 to 65535
        unix:/run/db.sock: `unix:/run/db.sock` is not unix:PATH:GUEST nor unix:PATH:ADDRESS:GUEST
        unix::5432: `unix::5432` is not unix:PATH:GUEST nor unix:PATH:ADDRESS:GUEST
        unix:/run/db.sock:x: `x` in `unix:/run/db.sock:x` is not a port from 1 to 65535
        ");
    }

    #[test]
    fn forwards_survive_being_written() {
        for text in [
            "80:127.0.0.1:80",
            "db=80:[fd00::1]:8080",
            "dns=53:10.43.0.10:53/udp",
            "1080/socks",
            "db=unix:/run/db.sock:127.0.0.1:5432",
        ] {
            assert_eq!(text.parse::<ForwardArg>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn loopback_of_both_families_unless_told_otherwise() {
        let forward: ForwardArg = "80".parse().unwrap();
        assert!(spec(&forward, None).bind.iter().all(IpAddr::is_loopback));
        assert_eq!(spec(&forward, None).bind.len(), 2);
        let everywhere = Ipv4Addr::UNSPECIFIED.into();
        assert_eq!(spec(&forward, Some(everywhere)).bind, [everywhere]);
    }

    #[test]
    fn sockets_are_told_from_ports_and_named_after_their_file() {
        for (text, name, path, target) in [
            ("unix:db.sock:5432", "db", "/p/db.sock", "127.0.0.1:5432"),
            (
                "unix:/run/a/pg:10.43.0.2:1",
                "pg",
                "/run/a/pg",
                "10.43.0.2:1",
            ),
            (
                "x=unix:/run/.s.PGSQL.1:[::1]:2",
                "x",
                "/run/.s.PGSQL.1",
                "[::1]:2",
            ),
        ] {
            assert!(ForwardArg::is_meant(text));
            let forward: ForwardArg = text.parse().unwrap();
            let spec = spec(&forward, None);
            assert_eq!((spec.name.as_str(), spec.target().as_str()), (name, target));
            assert_eq!(spec.socket.as_deref(), Some(Path::new(path)));
            assert_eq!(spec.listens_on(), [format!("unix:{path}")]);
        }
        let nameless: ForwardArg = "unix:/run/.s.PGSQL.1:2".parse().unwrap();
        let resolve = Path::to_path_buf;
        let error = nameless.to_spec(None, resolve).unwrap_err();
        insta::assert_snapshot!(error, @"`unix:/run/.s.PGSQL.1:127.0.0.1:2` needs a name: NAME=unix:/run/.s.PGSQL.1:127.0.0.1:2");
        let everywhere = Ipv4Addr::UNSPECIFIED.into();
        let error = nameless.to_spec(Some(everywhere), resolve).unwrap_err();
        insta::assert_snapshot!(error, @"a unix socket has no address to listen on");
    }
}
