//! k3s as a unit of systemd: somebody else's to start, ours to configure and to watch.
//!
//! systemd is asked over D-Bus, and says of itself when something changes: nothing is asked again
//! and again unless it cannot be asked at all. What the unit prints comes from `journalctl`. What
//! the answers mean is pure: [`status`], [`verdict`] and [`action`].

mod action;
mod journal;
mod status;
mod supervisor;
mod systemd;
mod tool;
mod verdict;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) use journal::{Begin, Cursor};
pub(super) use supervisor::supervise;
pub use systemd::SystemdError;

/// Longest name that systemd accepts, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// A unit, and where the program is that reads its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    name: String,
    tools_dir: Option<PathBuf>,
}

impl Unit {
    /// The one that systemd runs the agent as.
    pub(crate) fn of_the_agent() -> Self {
        Self {
            name: "lkc-guest.service".to_owned(),
            tools_dir: None,
        }
    }

    /// With `journalctl` from a directory instead of `PATH`.
    #[must_use]
    pub fn with_tools(mut self, directory: impl Into<PathBuf>) -> Self {
        self.tools_dir = Some(directory.into());
        self
    }

    fn tool(&self, name: &str) -> PathBuf {
        self.tools_dir
            .as_deref()
            .unwrap_or(Path::new(""))
            .join(name)
    }
}

impl FromStr for Unit {
    type Err = String;

    /// A bare name is a service's, as for `systemctl`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.rsplit_once('.') {
            Some((stem, "service")) if !stem.is_empty() => text.to_owned(),
            Some((_, "service")) => return Err("a unit needs a name before .service".to_owned()),
            _ => format!("{text}.service"),
        };
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || ":-_.\\@".contains(character);
        // What begins with '-' would be an option to journalctl.
        if text.is_empty() || text.starts_with('-') || !name.chars().all(allowed) {
            return Err("name a unit of systemd, as k3s.service".to_owned());
        }
        if name.len() > MAX_NAME_BYTES {
            return Err(format!("a unit's name has at most {MAX_NAME_BYTES} bytes"));
        }
        Ok(Self {
            name,
            tools_dir: None,
        })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests;
