//! Hardware addresses and IP addresses with a prefix, as values that cannot be malformed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A 48-bit hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// Takes the six bytes of an Ethernet address; anything else is not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The six bytes, first on the wire first.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether one device can own it: not zero and not a group address.
    pub fn is_unicast(self) -> bool {
        self.0 != [0; 6] && self.0[0] & 1 == 0
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hardware address like 52:54:00:c8:32:0a")]
pub struct MacError;

impl FromStr for MacAddr {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let mut bytes = [0; 6];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs
                .next()
                .filter(|pair| is_hex_pair(pair))
                .ok_or(MacError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| MacError)?;
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(MacError),
        }
    }
}

impl TryFrom<String> for MacAddr {
    type Error = MacError;

    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

fn is_hex_pair(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The family of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `ip`.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The length of an address in bits, which is the longest prefix.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The prefix that every address of the family is in.
    pub const fn everything(self) -> Cidr {
        let ip = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Cidr { ip, prefix: 0 }
    }
}

/// An IP address and the length of its network's prefix. The bits behind the prefix may be set: it
/// is both a host in its network (`192.100.0.10/24`) and, with them clear, a destination.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    ip: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// None when the prefix is longer than the address.
    pub const fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        if prefix > Family::of(ip).bits() {
            return None;
        }
        Some(Self { ip, prefix })
    }

    /// The prefix with only `ip` in it.
    pub const fn single(ip: IpAddr) -> Self {
        Self {
            ip,
            prefix: Family::of(ip).bits(),
        }
    }

    /// The address.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// The length of the prefix in bits.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The family of the address.
    pub const fn family(self) -> Family {
        Family::of(self.ip)
    }

    /// The network: the same prefix with all bits behind it clear.
    pub fn network(self) -> Self {
        let ip = match self.ip {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & !self.host_bits_v4())),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !self.host_bits_v6())),
        };
        Self { ip, ..self }
    }

    /// The last address of the network; under IPv4 the broadcast address where there is one.
    pub fn last(self) -> IpAddr {
        match self.ip {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() | self.host_bits_v4())),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() | self.host_bits_v6())),
        }
    }

    /// Whether `ip` is in the network.
    pub fn contains(self, ip: IpAddr) -> bool {
        Self { ip, ..self }.network() == self.network() && Family::of(ip) == self.family()
    }

    /// Whether all of `other`'s network is in this one.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.ip)
    }

    /// Whether the two networks have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    fn host_bits_v4(self) -> u32 {
        u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0)
    }

    fn host_bits_v6(self) -> u128 {
        u128::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0)
    }
}

/// Why a text is not an address with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// What stands before the slash.
    #[error("not an IP address")]
    Address,
    /// There is no slash.
    #[error("the prefix length is missing; write it like 192.100.0.10/24")]
    NoPrefix,
    /// What stands behind the slash.
    #[error("the prefix length is not a number between 0 and {longest}")]
    Prefix {
        /// Longest prefix of the family.
        longest: u8,
    },
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| CidrError::Address)?;
        let prefix = prefix.ok_or(CidrError::NoPrefix)?;
        let longest = Family::of(ip).bits();
        let plain = (1..=3).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit());
        plain
            .then(|| prefix.parse().ok())
            .flatten()
            .and_then(|prefix| Self::new(ip, prefix))
            .ok_or(CidrError::Prefix { longest })
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;

    fn try_from(text: String) -> Result<Self, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn hardware_addresses() {
        let mac: MacAddr = "52:54:00:C8:32:0a".parse().unwrap();
        assert_eq!(mac.octets(), [0x52, 0x54, 0, 0xc8, 0x32, 0x0a]);
        assert_eq!(mac.to_string(), "52:54:00:c8:32:0a");
        assert!(mac.is_unicast());
        for bad in [
            "",
            "52:54:00:c8:32",
            "52:54:00:c8:32:0a:1",
            "52:54:00:c8:32:+a",
            "5254.00c8.320a",
            "52:54:00:c8:32:0",
        ] {
            assert_eq!(bad.parse::<MacAddr>(), Err(MacError), "{bad}");
        }
    }

    #[test]
    fn networks() {
        let address = cidr("192.100.0.10/24");
        assert_eq!(address.network(), cidr("192.100.0.0/24"));
        assert_eq!(address.last().to_string(), "192.100.0.255");
        assert!(address.contains("192.100.0.1".parse().unwrap()));
        assert!(!address.contains("192.100.1.1".parse().unwrap()));
        assert!(!cidr("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(cidr("::/0").covers(cidr("fd00::/8")));
        assert!(cidr("10.42.3.0/24").overlaps(cidr("10.0.0.1/8")));
        assert!(!cidr("10.42.0.0/16").overlaps(cidr("10.43.0.0/16")));
        assert_eq!(cidr("fd00::5/64").network(), cidr("fd00::/64"));
        assert_eq!(cidr("1.2.3.4/32").network(), cidr("1.2.3.4/32"));
        assert_eq!(Family::V6.everything(), cidr("::/0"));
    }

    #[test]
    fn malformed_prefixes() {
        let table = [
            ("256.1.1.1/24", CidrError::Address),
            ("10.0.0.1", CidrError::NoPrefix),
            ("10.0.0.1/", CidrError::Prefix { longest: 32 }),
            ("10.0.0.1/33", CidrError::Prefix { longest: 32 }),
            ("10.0.0.1/+8", CidrError::Prefix { longest: 32 }),
            ("10.0.0.1/255.0.0.0", CidrError::Prefix { longest: 32 }),
            ("fd00::1/129", CidrError::Prefix { longest: 128 }),
            ("fe80::1%eth0/64", CidrError::Address),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
    }
}
