//! What is said of the way to a machine that is there already.

use crate::config::{
    place::{Place, Placed},
    problem::Problem,
    reader::Reader,
};

/// What is said of the way to a machine that is there already.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct DraftReach {
    /// In the order in which they are tried.
    pub(in crate::config) carriers: Vec<Placed<String>>,
    /// In front of every carrier, from this host on.
    pub(in crate::config) via: Vec<Placed<String>>,
    pub(in crate::config) guest_key: Option<Placed<String>>,
}

impl DraftReach {
    pub(super) fn read(reader: &Reader<'_>) -> Result<Self, Problem> {
        Ok(Self {
            carriers: reader.texts("carriers")?,
            via: reader.texts("via")?,
            guest_key: reader.text("guest-key")?,
        })
    }

    /// Where anything of it was said.
    pub(in crate::config) fn first_place(&self) -> Option<&Place> {
        self.carriers
            .iter()
            .chain(&self.via)
            .chain(&self.guest_key)
            .map(|said| &said.place)
            .next()
    }
}
