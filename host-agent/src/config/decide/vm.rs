//! What a virtual machine is made of.

use super::super::{
    cluster::{Driver, VmImage, VmSpec},
    draft::Draft,
    place::Placed,
    problem::Problem,
    size,
};
use super::parsed;

/// Processors unless set: k3s and its pods use two from the start.
const DEFAULT_CPUS: u32 = 2;

/// Most processors: as many as QEMU's machine model takes.
const MOST_CPUS: u32 = 255;

/// Memory in MiB unless set: k3s with what it brings along takes 1.6 GiB.
const DEFAULT_MEMORY: u32 = 2048;

/// Least memory in MiB: less does not boot a system.
const LEAST_MEMORY: u32 = 128;

/// Who names an image means a virtual machine.
pub(super) fn usual_driver(draft: &Draft) -> Option<Driver> {
    draft.vm.image.as_ref().map(|_| Driver::Qemu)
}

pub(super) fn decide(draft: &Draft, driver: Driver) -> Result<Option<VmSpec>, Problem> {
    let said = &draft.vm;
    if driver != Driver::Qemu {
        return match said.first_place() {
            None => Ok(None),
            Some(place) => Err(Problem::at(
                place,
                format!("the driver {driver} has no virtual machine to give this to"),
            )
            .help("write driver = \"qemu\" too")),
        };
    }
    let Some(image) = &said.image else {
        return Err(
            Problem::at(&draft.name.place, "the driver qemu needs a disk image").help(
                "name one that contains the agent: --image PATH, or image in [cluster.NAME.vm]",
            ),
        );
    };
    let memory_mib = parsed(said.memory.as_ref(), size::parse_mib)?.unwrap_or(DEFAULT_MEMORY);
    if let Some(said) = said.memory.as_ref().filter(|_| memory_mib < LEAST_MEMORY) {
        let message = format!(
            "{} is less than the {LEAST_MEMORY} MiB that a system needs",
            said.value
        );
        return Err(Problem::at(&said.place, message));
    }
    Ok(Some(VmSpec {
        image: image.value.clone(),
        cpus: said
            .cpus
            .as_ref()
            .map(cpus)
            .transpose()?
            .unwrap_or(DEFAULT_CPUS),
        memory_mib,
        disk_mib: parsed(said.disk.as_ref(), size::parse_mib)?,
        firmware: said.firmware.as_ref().map(|said| said.value.clone()),
    }))
}

fn cpus(said: &Placed<i64>) -> Result<u32, Problem> {
    u32::try_from(said.value)
        .ok()
        .filter(|cpus| (1..=MOST_CPUS).contains(cpus))
        .ok_or_else(|| {
            Problem::at(
                &said.place,
                format!(
                    "a machine has 1 to {MOST_CPUS} processors, not {}",
                    said.value
                ),
            )
        })
}

impl VmImage {
    /// What a text names: an output of a flake when it has a `#`, else a file. `resolve` makes a
    /// path absolute.
    pub(in crate::config) fn named(
        text: &str,
        resolve: impl Fn(&std::path::Path) -> std::path::PathBuf,
    ) -> Self {
        match text.split_once('#') {
            // Other references (github:…, nixpkgs) are nix' own to understand.
            Some((flake, output)) if flake.is_empty() || flake.starts_with(['.', '/', '~']) => {
                let flake = if flake.is_empty() { "." } else { flake };
                let flake = resolve(std::path::Path::new(flake));
                Self::Flake(format!("{}#{output}", flake.display()))
            }
            Some(_) => Self::Flake(text.to_owned()),
            None => Self::Path(resolve(std::path::Path::new(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn images_are_files_or_outputs_of_flakes() {
        for (text, expected) in [
            ("nixos.qcow2", VmImage::Path("/p/nixos.qcow2".into())),
            ("/img/k3s.raw", VmImage::Path("/img/k3s.raw".into())),
            (".#k3s-image", VmImage::Flake("/p/.#k3s-image".into())),
            ("#k3s-image", VmImage::Flake("/p/.#k3s-image".into())),
            ("../x#a.b", VmImage::Flake("/p/../x#a.b".into())),
            (
                "github:me/images#k3s",
                VmImage::Flake("github:me/images#k3s".into()),
            ),
        ] {
            let named = VmImage::named(text, |path| Path::new("/p").join(path));
            assert_eq!(named, expected, "{text}");
        }
    }
}
