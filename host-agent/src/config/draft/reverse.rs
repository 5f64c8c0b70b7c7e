//! What is said of a reverse forward.

use std::path::Path;

use super::{Base, port_or_text};
use crate::config::{
    place::{Place, Placed},
    problem::Problem,
    reader::{Reader, Value, place, table},
};

/// What a target that is a unix socket begins with.
pub(in crate::config) const UNIX: &str = "unix:";

/// What is said of a reverse forward.
#[derive(Debug, Clone)]
pub(in crate::config) struct DraftReverse {
    pub(in crate::config) place: Place,
    pub(in crate::config) name: Option<Placed<String>>,
    pub(in crate::config) guest: Option<Placed<i64>>,
    /// `PORT`, `HOST:PORT` or `unix:PATH`.
    pub(in crate::config) host: Option<Placed<String>>,
    /// An address, or `node`.
    pub(in crate::config) bind: Option<Placed<String>>,
}

impl DraftReverse {
    pub(super) fn read(value: &Value<'_>, base: &Base<'_>) -> Result<Self, Problem> {
        let reader = Reader::new(
            table(value)?,
            "[[reverse]]",
            &["name", "guest", "host", "bind"],
        )?;
        let host = reader
            .value("host")
            .map(|value| port_or_text("a port, \"ADDRESS:PORT\" or \"unix:PATH\"", value))
            .transpose()?;
        Ok(Self {
            place: place(value),
            name: reader.text("name")?,
            guest: reader.integer("guest")?,
            host: host.map(|host| host.map(|text| resolved(text, base))),
            bind: reader.text("bind")?,
        })
    }

    /// Reads one from an argument: `[NAME=][BIND:]GUEST_PORT[:TARGET]`, IPv6 addresses in brackets.
    pub(in crate::config) fn argument(
        text: &str,
        place: &Place,
        base: &Base<'_>,
    ) -> Result<Self, Problem> {
        let said = |value: &str| Placed::new(value.to_owned(), place.clone());
        let (name, ends) = match text.split_once('=') {
            Some((name, ends)) if !name.contains([':', '/']) => (Some(said(name)), ends),
            _ => (None, text),
        };
        let unreadable = || {
            Problem::at(place, format!("`{text}` is not a reverse forward")).help(
                "write GUEST_PORT:HOST_PORT, as in 5000:5000, or GUEST_PORT:HOST:PORT or GUEST_PORT:unix:PATH, with NAME= and an ADDRESS: of the guest before it if needed",
            )
        };
        let (first, rest) = split_first(ends);
        let (bind, guest, target) = if is_number(first) {
            (None, first, rest)
        } else {
            let (guest, target) = split_first(rest.ok_or_else(unreadable)?);
            (Some(first), guest, target)
        };
        if !is_number(guest) || bind.is_some_and(str::is_empty) {
            return Err(unreadable());
        }
        let guest = guest.parse().map_err(|_| unreadable())?;
        let bare = |address: &str| said(address.trim_start_matches('[').trim_end_matches(']'));
        Ok(Self {
            place: place.clone(),
            name,
            guest: Some(Placed::new(guest, place.clone())),
            host: target.map(|target| said(&resolved(target.to_owned(), base))),
            bind: bind.map(bare),
        })
    }
}

fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// What stands before the first colon that is not in brackets, and what behind it.
fn split_first(text: &str) -> (&str, Option<&str>) {
    let from = match text.starts_with('[') {
        true => text.find(']').unwrap_or(0),
        false => 0,
    };
    match text[from..].find(':') {
        Some(at) => (&text[..from + at], Some(&text[from + at + 1..])),
        None => (text, None),
    }
}

/// A unix socket's path is relative to where it was said.
fn resolved(text: String, base: &Base<'_>) -> String {
    match text.strip_prefix(UNIX) {
        Some(path) if !path.is_empty() => {
            format!("{UNIX}{}", base.resolve(Path::new(path)).display())
        }
        _ => text,
    }
}
