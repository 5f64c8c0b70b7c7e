//! Places in the journal, as it names them.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// More than the journal's own, which have some 130 bytes.
const MAX_BYTES: usize = 256;

/// An entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    text: String,
}

/// A text is no cursor.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("not a place in the journal")]
pub(crate) struct NoCursor;

impl Cursor {
    /// Whether both are the same entry: of one boot, at one time, with one content. Its number is
    /// another one once the journal has been written to disk.
    pub(super) fn is_same_entry(&self, other: &Self) -> bool {
        ["b", "m", "x"]
            .iter()
            .all(|name| self.part(name) == other.part(name))
    }

    /// Whether it is of this boot, whose id is given as the kernel does.
    pub(super) fn is_of_boot(&self, boot: &str) -> bool {
        self.part("b") == boot.trim().replace('-', "")
    }

    fn part(&self, name: &str) -> &str {
        let parts = self.text.split(';').filter_map(|part| part.split_once('='));
        let mut named = parts.filter(|(of, _)| *of == name);
        named.next().map_or("", |(_, value)| value)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    /// One that names boot, time and content; it is handed to journalctl.
    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let is_part = |part: &str| {
            let Some((name, value)) = part.split_once('=') else {
                return false;
            };
            matches!(name, "s" | "i" | "b" | "m" | "t" | "x")
                && !value.is_empty()
                && value.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        let cursor = Self {
            text: text.to_owned(),
        };
        let is_whole = ["b", "m", "x"]
            .iter()
            .all(|name| !cursor.part(name).is_empty());
        if text.len() > MAX_BYTES || !text.split(';').all(is_part) || !is_whole {
            return Err(NoCursor);
        }
        Ok(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "s=9e8f;i=2a;b=6bd1c8a4;m=5f1a2b;t=63c;x=ab12";

    #[test]
    fn only_what_the_journal_writes_is_taken() {
        assert_eq!(ONE.parse::<Cursor>().unwrap().to_string(), ONE);
        let long = format!("{ONE};s={}", "0".repeat(MAX_BYTES));
        for text in [
            "",
            "s=1",
            "b=1;m=2;x=",
            "b=1;m=2;x=3;",
            "b=1;m=2;x=g",
            "b=1;m=2;x=3;--file=1",
            &long,
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }

    #[test]
    fn an_entry_keeps_its_time_and_not_its_number() {
        let one: Cursor = ONE.parse().unwrap();
        let moved: Cursor = "s=77;i=1;b=6bd1c8a4;m=5f1a2b;t=63d;x=ab12".parse().unwrap();
        assert!(one.is_same_entry(&moved));
        for other in [
            ONE.replace("m=5", "m=6"),
            ONE.replace("b=6", "b=7"),
            ONE.replace("x=a", "x=b"),
        ] {
            assert!(!one.is_same_entry(&other.parse().unwrap()), "{other}");
        }
        assert!(one.is_of_boot("6bd1-c8a4\n") && !one.is_of_boot("6bd1c8a5"));
    }
}
