//! Flags that say what a node runs on.

use clap::Args;

use crate::config::{Overrides, size};

/// What the node runs on.
#[derive(Debug, Clone, Args)]
pub struct MachineArgs {
    /// What the node runs on: sandbox, qemu or existing [default: sandbox, qemu with an image, existing with a carrier]
    #[arg(long, value_name = "DRIVER")]
    pub driver: Option<String>,
    /// Disk image of a virtual machine that contains the agent: a file, or an output of a flake (.#k3s-image) that nix builds
    #[arg(long, value_name = "IMAGE", value_hint = clap::ValueHint::FilePath)]
    pub image: Option<String>,
    /// Processors of a virtual machine [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub cpus: Option<u8>,
    /// Memory of a virtual machine: 512MiB, 8GiB [default: 2GiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<String>,
    /// Least size of a virtual machine's disk, which grows to it: 20GiB [default: the image's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub disk: Option<String>,
}

impl MachineArgs {
    /// What the flags say of the machine.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            driver: self.driver.clone(),
            image: self.image.clone(),
            cpus: self.cpus.map(i64::from),
            memory: self.memory.clone(),
            disk: self.disk.clone(),
            ..Overrides::default()
        }
    }
}

fn parse_size(text: &str) -> Result<String, String> {
    size::parse_mib(text).map(|_| text.to_owned())
}
