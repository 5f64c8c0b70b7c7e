//! Names of interfaces and hosts, and the patterns that select interfaces.

use std::fmt;
use std::str::FromStr;

/// Longest interface name in bytes (the kernel keeps 16 with the terminating zero).
const LONGEST_INTERFACE_NAME: usize = 15;

/// Longest host name in bytes that the kernel takes.
const LONGEST_HOST_NAME: usize = 64;

/// Longest label of a host name in bytes.
const LONGEST_LABEL: usize = 63;

/// Longest pattern in bytes.
const LONGEST_PATTERN: usize = 64;

/// A name that an interface can be given: 1 to 15 bytes, safe in paths and configuration files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("the name is empty")]
    Empty,
    /// It has too many bytes.
    #[error("the name is longer than {longest} bytes")]
    TooLong {
        /// Greatest length in bytes.
        longest: usize,
    },
    /// `lo`, `.`, `..` and the kernel's own words.
    #[error("the name is reserved")]
    Reserved,
    /// A character that this kind of name cannot have.
    #[error("the name has a character that is not allowed ({character:?})")]
    Character {
        /// The first one.
        character: char,
    },
    /// A label of a host name is empty, too long, or begins or ends with a hyphen.
    #[error("each part between dots must have 1 to 63 letters, digits or inner hyphens")]
    Label,
}

impl FromStr for InterfaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded(text, LONGEST_INTERFACE_NAME)?;
        if ["lo", ".", "..", "all", "default"].contains(&text) {
            return Err(NameError::Reserved);
        }
        // A percent sign asks the kernel to number the name, a colon makes an alias of old.
        let strange = |c: char| !c.is_ascii_graphic() || matches!(c, '/' | '%' | ':' | '\\');
        match text.chars().find(|&c| strange(c)) {
            Some(character) => Err(NameError::Character { character }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host name by RFC 1123, at most 64 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded(text, LONGEST_HOST_NAME)?;
        labels(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a DNS search domain, at most 253 bytes.
pub(super) fn check_domain(text: &str) -> Result<(), NameError> {
    bounded(text, 253)?;
    labels(text)
}

fn bounded(text: &str, longest: usize) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty),
        len if len > longest => Err(NameError::TooLong { longest }),
        _ => Ok(()),
    }
}

fn labels(text: &str) -> Result<(), NameError> {
    let strange = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.');
    if let Some(character) = text.chars().find(strange) {
        return Err(NameError::Character { character });
    }
    let good = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.split('.').all(good) {
        Ok(())
    } else {
        Err(NameError::Label)
    }
}

/// A shell pattern with `*` and `?`; every other character stands for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Whether the whole of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        fits(self.0.as_bytes(), text.as_bytes())
    }
}

impl FromStr for Glob {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        bounded(text, LONGEST_PATTERN)?;
        // Sets like [ab] are refused rather than taken literally: they would match nothing.
        let strange = |c: char| !c.is_ascii_graphic() || matches!(c, '/' | '[' | ']' | '\\' | '!');
        match text.chars().find(|&c| strange(c)) {
            Some(character) => Err(NameError::Character { character }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares in time proportional to the product of the lengths: only the last star is retried.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names() {
        for good in ["eth0", "enp0s1", "eth0.100", "a", "fifteen-bytes-x"] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().as_str(), good);
        }
        let table = [
            ("", NameError::Empty),
            ("sixteen-bytes-xy", NameError::TooLong { longest: 15 }),
            ("lo", NameError::Reserved),
            (".", NameError::Reserved),
            ("..", NameError::Reserved),
            ("../x", NameError::Character { character: '/' }),
            ("eth0\n[Network]", NameError::Character { character: '\n' }),
            ("eth 0", NameError::Character { character: ' ' }),
            ("eth%d", NameError::Character { character: '%' }),
            (
                "eth\u{1b}",
                NameError::Character {
                    character: '\u{1b}',
                },
            ),
            ("ethé", NameError::Character { character: 'é' }),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<InterfaceName>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn host_names() {
        for good in ["k3s-dev", "node-1.lab.example", "0", &"a".repeat(63)] {
            assert_eq!(good.parse::<HostName>().unwrap().as_str(), good);
        }
        let table = [
            ("", NameError::Empty),
            (&*"a".repeat(65), NameError::TooLong { longest: 64 }),
            (&*"a".repeat(64), NameError::Label),
            ("-a", NameError::Label),
            ("a-", NameError::Label),
            ("a..b", NameError::Label),
            ("a.", NameError::Label),
            ("a_b", NameError::Character { character: '_' }),
            ("a\nb", NameError::Character { character: '\n' }),
            ("bücher", NameError::Character { character: 'ü' }),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<HostName>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn patterns() {
        let table = [
            ("eth*", "eth0", true),
            ("eth*", "eth", true),
            ("eth*", "ens3", false),
            ("e*3", "ens33", true),
            ("e*3", "ens34", false),
            ("eth?", "eth0", true),
            ("eth?", "eth", false),
            ("*", "", true),
            ("**a*b", "xaab", true),
            ("virtio*", "virtio_net", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(
                pattern.parse::<Glob>().unwrap().matches(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert!("eth[01]".parse::<Glob>().is_err());
        let hostile: Glob = format!("{}b", "*a".repeat(31)).parse().unwrap();
        assert!(!hostile.matches(&"a".repeat(200)));
    }
}
