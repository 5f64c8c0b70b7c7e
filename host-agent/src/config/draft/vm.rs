//! What is said of a virtual machine.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::Base;
use crate::config::{
    cluster::VmImage,
    place::{Place, Placed},
    problem::Problem,
    reader::Reader,
};

/// What is said of a virtual machine.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct DraftVm {
    pub(in crate::config) image: Option<Placed<VmImage>>,
    pub(in crate::config) cpus: Option<Placed<i64>>,
    pub(in crate::config) memory: Option<Placed<String>>,
    pub(in crate::config) disk: Option<Placed<String>>,
    pub(in crate::config) firmware: Option<Placed<PathBuf>>,
}

impl DraftVm {
    pub(super) fn read(table: &DeTable<'_>, name: &str, base: &Base<'_>) -> Result<Self, Problem> {
        let known = ["image", "cpus", "memory", "disk", "firmware"];
        let reader = Reader::new(table, name, &known)?;
        let resolve = |path: &Path| base.resolve(path);
        Ok(Self {
            image: reader
                .text("image")?
                .map(|said| said.map(|text| VmImage::named(&text, resolve))),
            cpus: reader.integer("cpus")?,
            memory: reader.text("memory")?,
            disk: reader.text("disk")?,
            firmware: reader
                .text("firmware")?
                .map(|said| said.map(|path| base.resolve(Path::new(&path)))),
        })
    }

    /// Where anything of it was said.
    pub(in crate::config) fn first_place(&self) -> Option<&Place> {
        let texts = [&self.memory, &self.disk];
        self.image
            .as_ref()
            .map(|said| &said.place)
            .or(self.cpus.as_ref().map(|said| &said.place))
            .or_else(|| {
                texts
                    .iter()
                    .find_map(|said| said.as_ref().map(|said| &said.place))
            })
            .or(self.firmware.as_ref().map(|said| &said.place))
    }
}
