//! Finding the disk image of a virtual machine before the daemon is asked: it may take a build whose
//! progress is to be seen, and paths are as the user sees them.

use super::context::Context;
use crate::{
    config::{ClusterSpec, VmImage},
    error::{CommandError, Kind},
    machine::{MachineError, QemuError, qemu},
    paths::private,
};

/// Makes the image of `spec` a file that is there.
pub(super) async fn find(
    context: &Context<'_>,
    spec: &mut ClusterSpec,
) -> Result<(), CommandError> {
    let Some(vm) = &mut spec.vm else {
        return Ok(());
    };
    let located = match &vm.image {
        VmImage::Path(path) => qemu::image::locate(path),
        VmImage::Flake(output) => {
            let cluster = context.paths.cluster(&spec.name);
            for directory in [
                context.paths.state_dir(),
                &context.paths.clusters_dir(),
                cluster.state_dir(),
            ] {
                private::private_dir(directory, context.paths.uid())
                    .map_err(|error| CommandError::new(Kind::HostIo, error))?;
            }
            context.output.talk(&format!("building {output}"));
            qemu::image::build(output, &cluster.image_link()).await
        }
    };
    vm.image = VmImage::Path(located.map_err(as_command_error)?);
    Ok(())
}

fn as_command_error(error: MachineError) -> CommandError {
    let kind = match &error {
        MachineError::Qemu(QemuError::MissingImage(_) | QemuError::BadImage { .. }) => {
            Kind::BadInput
        }
        _ => Kind::HostIo,
    };
    let hint = error.hint();
    CommandError::new(kind, error).hint(hint)
}
