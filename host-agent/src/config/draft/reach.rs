//! What is said of the way to a machine that is there already.

use std::path::{Path, PathBuf};

use super::Base;
use crate::config::{
    place::{Place, Placed},
    problem::Problem,
    reader::{Reader, place},
};

/// What is said of the way to a machine that is there already.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct DraftReach {
    /// In the order in which they are tried.
    pub(in crate::config) carriers: Vec<Placed<String>>,
    /// In front of every carrier, from this host on.
    pub(in crate::config) via: Vec<Placed<String>>,
    pub(in crate::config) guest_key: Option<Placed<String>>,
    pub(in crate::config) ssh: DraftSsh,
}

/// What is said of SSH that no ssh configuration says.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct DraftSsh {
    /// Where something of it was said.
    pub(in crate::config) place: Option<Place>,
    pub(in crate::config) config: Option<PathBuf>,
    pub(in crate::config) accept_new: bool,
    pub(in crate::config) host_keys: Vec<Placed<String>>,
    /// On the other side.
    pub(in crate::config) socket: Option<Placed<String>>,
    /// On the other side.
    pub(in crate::config) command: Option<Placed<String>>,
}

impl DraftReach {
    /// `ssh_name` is what messages call the table of SSH's settings.
    pub(super) fn read(
        reader: &Reader<'_>,
        ssh_name: &str,
        base: &Base<'_>,
    ) -> Result<Self, Problem> {
        Ok(Self {
            carriers: reader.texts("carriers")?,
            via: reader.texts("via")?,
            guest_key: reader.text("guest-key")?,
            ssh: DraftSsh::read(reader, ssh_name, base)?,
        })
    }

    /// Where anything of it was said.
    pub(in crate::config) fn first_place(&self) -> Option<&Place> {
        self.carriers
            .iter()
            .chain(&self.via)
            .chain(&self.guest_key)
            .map(|said| &said.place)
            .chain(&self.ssh.place)
            .next()
    }
}

impl DraftSsh {
    fn read(reader: &Reader<'_>, name: &str, base: &Base<'_>) -> Result<Self, Problem> {
        let Some(table) = reader.table("ssh")? else {
            return Ok(Self::default());
        };
        let known = ["config", "accept-new", "host-keys", "socket", "command"];
        let said = Reader::new(table, name, &known)?;
        let config = said.text("config")?;
        Ok(Self {
            place: reader.value("ssh").map(place),
            config: config.map(|path| base.resolve(Path::new(&path.value))),
            accept_new: said.boolean("accept-new")?.unwrap_or(false),
            host_keys: said.texts("host-keys")?,
            socket: said.text("socket")?,
            command: said.text("command")?,
        })
    }
}
