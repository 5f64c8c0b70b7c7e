//! What a client of SOCKS5 says before its connection begins: RFC 1928 §3 to §5, without I/O.
//!
//! Each step says how many bytes it wants, at most 257, and takes exactly those, so that nothing of
//! the connection's own bytes is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;

/// Where a client wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// An address, or a name for the guest to resolve.
    pub host: String,
    /// Port of it.
    pub port: u16,
}

/// What follows from the bytes of a step.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next step.
    More,
    /// Send this, then the next step.
    Answer([u8; 2]),
    /// All is said.
    Connect(Target),
}

/// Why a client cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SocksError {
    /// It says another version, or no SOCKS at all.
    #[error("the client does not speak SOCKS 5: its first byte is {0}")]
    Version(u8),
    /// It offers no way without.
    #[error("the client insists on authentication, which there is none of")]
    Authentication,
    /// Another than CONNECT.
    #[error("the client asks for {}; only CONNECT is served", command(*.0))]
    Command(u8),
    /// Neither IPv4, IPv6 nor a name.
    #[error("the client names an address of the unknown kind {0}")]
    AddressKind(u8),
    /// Not a name as resolvers take it.
    #[error("the client names a host that no host can have")]
    Name,
}

impl SocksError {
    /// The bytes that tell the client; none where it would not understand any.
    #[must_use]
    pub fn answer(&self) -> Vec<u8> {
        match self {
            Self::Version(_) => Vec::new(),
            Self::Authentication => vec![VERSION, 0xff],
            Self::Command(_) => Reply::CommandNotSupported.encode().to_vec(),
            Self::AddressKind(_) => Reply::AddressKindNotSupported.encode().to_vec(),
            Self::Name => Reply::Failure.encode().to_vec(),
        }
    }
}

fn command(number: u8) -> String {
    match number {
        2 => "BIND".to_owned(),
        3 => "UDP ASSOCIATE".to_owned(),
        other => format!("the command {other}"),
    }
}

/// What became of a request: RFC 1928 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The connection is there.
    Succeeded = 0,
    /// It is not, for another reason than those below.
    Failure = 1,
    /// Neither end allows such a target.
    NotAllowed = 2,
    /// The guest knows no way to it.
    NetworkUnreachable = 3,
    /// Nobody answers for it.
    HostUnreachable = 4,
    /// It does not listen.
    ConnectionRefused = 5,
    /// "TTL expired", which clients show as a timeout.
    TimedOut = 6,
    /// Another than CONNECT was asked for.
    CommandNotSupported = 7,
    /// Neither IPv4, IPv6 nor a name.
    AddressKindNotSupported = 8,
}

impl Reply {
    /// The whole reply. The address that the guest connects from is not known here, and is told as
    /// 0.0.0.0:0.
    #[must_use]
    pub const fn encode(self) -> [u8; 10] {
        [VERSION, self as u8, 0, 1, 0, 0, 0, 0, 0, 0]
    }
}

/// A negotiation under way.
#[derive(Debug, Default)]
pub struct Negotiation {
    step: Step,
}

#[derive(Debug, Default, Clone, Copy)]
enum Step {
    #[default]
    Greeting,
    Methods(u8),
    Request,
    Ipv4,
    Ipv6,
    NameLength,
    Name(u8),
}

impl Negotiation {
    /// Bytes that the next step takes; 257 at most.
    #[must_use]
    pub const fn wants(&self) -> usize {
        match self.step {
            Step::Greeting => 2,
            Step::Methods(count) => count as usize,
            Step::Request => 4,
            Step::Ipv4 => 4 + 2,
            Step::Ipv6 => 16 + 2,
            Step::NameLength => 1,
            Step::Name(length) => length as usize + 2,
        }
    }

    /// Takes the bytes of the next step, as many as it [wants](Self::wants).
    ///
    /// # Errors
    /// [`SocksError`], after which nothing that the client says makes sense.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Progress, SocksError> {
        match (self.step, bytes) {
            (Step::Greeting, &[VERSION, 0]) => Err(SocksError::Authentication),
            (Step::Greeting, &[VERSION, count]) => self.go_to(Step::Methods(count)),
            (Step::Methods(_), methods) if methods.contains(&NO_AUTHENTICATION) => {
                self.step = Step::Request;
                Ok(Progress::Answer([VERSION, NO_AUTHENTICATION]))
            }
            (Step::Methods(_), _) => Err(SocksError::Authentication),
            (Step::Request, &[VERSION, CONNECT, _, kind]) => match kind {
                1 => self.go_to(Step::Ipv4),
                3 => self.go_to(Step::NameLength),
                4 => self.go_to(Step::Ipv6),
                other => Err(SocksError::AddressKind(other)),
            },
            (Step::Request, &[VERSION, other, _, _]) => Err(SocksError::Command(other)),
            (Step::NameLength, &[0]) => Err(SocksError::Name),
            (Step::NameLength, &[length]) => self.go_to(Step::Name(length)),
            (Step::Ipv4, bytes) => {
                let (address, port) = with_port(bytes)?;
                let octets: [u8; 4] = address.try_into().map_err(|_| SocksError::Name)?;
                Ok(connect(Ipv4Addr::from(octets).to_string(), port))
            }
            (Step::Ipv6, bytes) => {
                let (address, port) = with_port(bytes)?;
                let octets: [u8; 16] = address.try_into().map_err(|_| SocksError::Name)?;
                Ok(connect(Ipv6Addr::from(octets).to_string(), port))
            }
            (Step::Name(_), bytes) => {
                let (name, port) = with_port(bytes)?;
                Ok(connect(host_name(name)?, port))
            }
            (Step::Greeting | Step::Request, other) => {
                let first = other.first().copied().unwrap_or_default();
                Err(SocksError::Version(first))
            }
            (Step::NameLength, _) => Err(SocksError::Name),
        }
    }

    fn go_to(&mut self, step: Step) -> Result<Progress, SocksError> {
        self.step = step;
        Ok(Progress::More)
    }
}

const fn connect(host: String, port: u16) -> Progress {
    Progress::Connect(Target { host, port })
}

fn with_port(bytes: &[u8]) -> Result<(&[u8], u16), SocksError> {
    let (host, port) = bytes.split_last_chunk().ok_or(SocksError::Name)?;
    Ok((host, u16::from_be_bytes(*port)))
}

/// A name as resolvers take it, or an address that was written as a name.
fn host_name(bytes: &[u8]) -> Result<String, SocksError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SocksError::Name)?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err(SocksError::Name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds a client's bytes; what it gets back and what it led to, and how many bytes were taken.
    fn negotiate(mut said: &[u8]) -> (Vec<u8>, Option<Result<Target, SocksError>>, usize) {
        let (mut negotiation, mut answers, whole) =
            (Negotiation::default(), Vec::new(), said.len());
        loop {
            let wants = negotiation.wants();
            assert!((1..=257).contains(&wants), "{negotiation:?}");
            let Some((step, rest)) = said.split_at_checked(wants) else {
                return (answers, None, whole - said.len());
            };
            said = rest;
            match negotiation.handle(step) {
                Ok(Progress::More) => {}
                Ok(Progress::Answer(answer)) => answers.extend(answer),
                Ok(Progress::Connect(target)) => {
                    return (answers, Some(Ok(target)), whole - said.len());
                }
                Err(error) => return (answers, Some(Err(error)), whole - said.len()),
            }
        }
    }

    fn request(kind: u8, address: &[u8], port: u16) -> Vec<u8> {
        let mut bytes = vec![5, 1, 0, 5, 1, 0, kind];
        bytes.extend(address);
        bytes.extend(port.to_be_bytes());
        bytes
    }

    fn named(name: &str, port: u16) -> Vec<u8> {
        let mut address = vec![u8::try_from(name.len()).unwrap()];
        address.extend(name.as_bytes());
        request(3, &address, port)
    }

    #[test]
    fn three_kinds_of_targets_are_understood_and_no_byte_behind_is_taken() {
        let ipv6 = "fd42::1".parse::<Ipv6Addr>().unwrap().octets();
        for (said, host, port) in [
            (request(1, &[10, 43, 0, 1], 443), "10.43.0.1", 443),
            (request(4, &ipv6, 80), "fd42::1", 80),
            (named("web.default.svc", 80), "web.default.svc", 80),
            (named("_tcp.a-b.", 1), "_tcp.a-b.", 1),
            (named("10.43.0.1", 80), "10.43.0.1", 80),
            (named("::1", 80), "::1", 80),
            (named("[::1]", 80), "::1", 80),
            (named(&"a".repeat(255), 65_535), &"a".repeat(255), 65_535),
        ] {
            let mut early = said.clone();
            early.extend(b"GET / HTTP/1.1");
            let host = host.to_owned();
            let expected = (vec![5, 0], Some(Ok(Target { host, port })), said.len());
            assert_eq!(negotiate(&early), expected);
        }
    }

    #[test]
    fn what_is_not_served_is_told_by_its_code() {
        let lines: Vec<_> = [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[4, 1, 0, 80, 10, 43, 0, 1, 0],
            &[5, 0],
            &[5, 2, 1, 2],
            &[5, 1, 0, 5, 2, 0, 1],
            &[5, 1, 0, 5, 3, 0, 1],
            &[5, 1, 0, 5, 9, 0, 1],
            &[5, 1, 0, 5, 1, 0, 2],
            &[5, 1, 0, 5, 1, 0, 3, 0],
            &[5, 1, 0, 5, 1, 0, 3, 1, b' ', 0, 80],
            &[5, 1, 0, 5, 1, 0, 3, 1, 0xff, 0, 80],
            &[5, 1, 0, 6, 1, 0, 1],
        ]
        .into_iter()
        .map(|said| match negotiate(said).1 {
            Some(Err(error)) => format!("{error}: {:?}", error.answer()),
            other => panic!("{said:?}: {other:?}"),
        })
        .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        the client does not speak SOCKS 5: its first byte is 71: []
        the client does not speak SOCKS 5: its first byte is 4: []
        the client insists on authentication, which there is none of: [5, 255]
        the client insists on authentication, which there is none of: [5, 255]
        the client asks for BIND; only CONNECT is served: [5, 7, 0, 1, 0, 0, 0, 0, 0, 0]
        the client asks for UDP ASSOCIATE; only CONNECT is served: [5, 7, 0, 1, 0, 0, 0, 0, 0, 0]
        the client asks for the command 9; only CONNECT is served: [5, 7, 0, 1, 0, 0, 0, 0, 0, 0]
        the client names an address of the unknown kind 2: [5, 8, 0, 1, 0, 0, 0, 0, 0, 0]
        the client names a host that no host can have: [5, 1, 0, 1, 0, 0, 0, 0, 0, 0]
        the client names a host that no host can have: [5, 1, 0, 1, 0, 0, 0, 0, 0, 0]
        the client names a host that no host can have: [5, 1, 0, 1, 0, 0, 0, 0, 0, 0]
        the client does not speak SOCKS 5: its first byte is 6: []
        ");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_target_an_error_or_not_all_yet(
            said in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                prop::collection::vec(any::<u8>(), 0..300).prop_map(|tail| [vec![5, 1, 0, 5, 1, 0], tail].concat()),
            ]
        ) {
            let (answers, outcome, taken) = negotiate(&said);
            prop_assert!(answers.is_empty() || answers == [5, 0]);
            prop_assert!(taken <= said.len());
            if let Some(Ok(target)) = outcome {
                prop_assert!(!target.host.is_empty() && target.host.len() <= 255);
                // Until its last byte is there it leads nowhere.
                prop_assert_eq!(negotiate(&said[..taken - 1]).1, None);
            }
        }
    }
}
