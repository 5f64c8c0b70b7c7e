//! Host keys in the files of OpenSSH: who has which, as sshd(8) describes under
//! "SSH_KNOWN_HOSTS FILE FORMAT".
//!
//! Reads only. A host that is filed with a key of another type counts as changed: to take it for
//! unknown would let whoever stands in between choose a type that asks no questions.

mod pattern;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine, prelude::BASE64_STANDARD};

pub(super) use pattern::hashed;
use pattern::matches;

/// Longest line that is looked at, in bytes. The longest useful one, of an RSA key of 16384 bits,
/// has 3 KiB.
const MAX_LINE: usize = 16 * 1024;

/// The key types whose signatures can be checked here, as files and servers name them.
pub(super) const CHECKED_TYPES: [&str; 4] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
];

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}

/// What an entry says about its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    Is,
    Authority,
    Revoked,
}

/// A line that speaks of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    says: Says,
    key_type: String,
    /// The key as it is on the wire.
    key: Vec<u8>,
    place: Place,
}

/// What the files have about one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownKeys {
    entries: Vec<Entry>,
    /// Entries of the name without its port, which may confirm a key and never contradict one.
    without_port: Vec<Entry>,
}

/// What the files say about a key that a host presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the host's.
    Known,
    /// Somebody marked it as lost to others.
    Revoked(Place),
    /// The host has another one.
    Changed {
        /// The other one, as it is on the wire.
        key: Vec<u8>,
        /// Where it is filed.
        place: Place,
    },
    /// The host is filed with key types only that cannot be checked here.
    OnlyType {
        /// Which.
        key_type: String,
        /// Where it is filed.
        place: Place,
    },
    /// The host is to show a certificate of this authority.
    OnlyAuthority(Place),
    /// No file has the host.
    Unknown,
}

impl KnownKeys {
    /// What `text` of `file` adds about `name`, which is a host or `[host]:port`.
    pub(super) fn read(&mut self, text: &str, file: &Path, name: &str) {
        let bare = name
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]:"))
            .map(|(host, _)| host);
        for (index, line) in text.lines().enumerate() {
            let Some((hosts, says, key_type, key)) = fields(line) else {
                continue;
            };
            let entries = if matches(hosts, name) {
                &mut self.entries
            } else if bare.is_some_and(|bare| matches(hosts, bare)) {
                &mut self.without_port
            } else {
                continue;
            };
            let Ok(key) = BASE64_STANDARD.decode(key) else {
                continue;
            };
            entries.push(Entry {
                says,
                key_type: key_type.to_owned(),
                key,
                place: Place {
                    file: file.to_owned(),
                    line: index + 1,
                },
            });
        }
    }

    /// Whether the host has a key of this type here.
    pub(super) fn has_type(&self, key_type: &str) -> bool {
        let is = |entry: &&Entry| entry.says == Says::Is && entry.key_type == key_type;
        self.entries.iter().find(is).is_some()
            || (self.entries.is_empty() && self.without_port.iter().find(is).is_some())
    }

    /// What the files say about the key `key`, as it is on the wire.
    pub(super) fn verdict(&self, key: &[u8]) -> Verdict {
        let all = self.entries.iter().chain(&self.without_port);
        if let Some(revoked) = all
            .clone()
            .find(|entry| entry.says == Says::Revoked && entry.key == key)
        {
            return Verdict::Revoked(revoked.place.clone());
        }
        if all
            .clone()
            .any(|entry| entry.says == Says::Is && entry.key == key)
        {
            return Verdict::Known;
        }
        let filed = || self.entries.iter().filter(|entry| entry.says == Says::Is);
        let checked = filed().find(|entry| CHECKED_TYPES.contains(&entry.key_type.as_str()));
        if let Some(entry) = checked {
            return Verdict::Changed {
                key: entry.key.clone(),
                place: entry.place.clone(),
            };
        }
        if let Some(entry) = filed().next() {
            return Verdict::OnlyType {
                key_type: entry.key_type.clone(),
                place: entry.place.clone(),
            };
        }
        match self
            .entries
            .iter()
            .find(|entry| entry.says == Says::Authority)
        {
            Some(entry) => Verdict::OnlyAuthority(entry.place.clone()),
            None => Verdict::Unknown,
        }
    }
}

/// Hosts, marker, type and key of a line; nothing of a comment and of what is no entry.
fn fields(line: &str) -> Option<(&str, Says, &str, &str)> {
    if line.len() > MAX_LINE || line.starts_with('#') {
        return None;
    }
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    let (says, hosts) = match first {
        "@cert-authority" => (Says::Authority, words.next()?),
        "@revoked" => (Says::Revoked, words.next()?),
        marker if marker.starts_with('@') => return None,
        hosts => (Says::Is, hosts),
    };
    Some((hosts, says, words.next()?, words.next()?))
}

#[cfg(test)]
mod tests;
