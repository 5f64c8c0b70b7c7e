//! What a sandbox has in its directories on the host, checked and prepared for a start.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path};

use super::{MACHINE_ID_FILE, RANCHER_DIR, ROOT_DIR, VAR_DIR};
use crate::machine::directories::{
    check_absolute, check_mac, check_name, check_socket, make_private,
};
use crate::machine::{AGENT_SOCKET, GUEST_CONFIG_DIR, MachineError, MachineSpec, Programs};

/// Refuses what could not work or would reach outside of the guest.
pub(super) fn check(spec: &MachineSpec) -> Result<(), MachineError> {
    check_name(&spec.name)?;
    check_mac(spec.mac)?;
    for (what, path) in [
        ("state directory", &spec.state_dir),
        ("runtime directory", &spec.runtime_dir),
        ("agent program", &spec.programs.guest_agent),
        ("k3s program", &spec.programs.k3s),
    ] {
        check_absolute(what, path)?;
    }
    for file in &spec.files {
        let inside = file.path.strip_prefix(GUEST_CONFIG_DIR).is_ok_and(|rest| {
            let mut parts = rest.components().peekable();
            parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
        });
        if !inside {
            return Err(MachineError::BadSpec {
                what: "file",
                why: format!("{} is elsewhere", file.path.display()),
            });
        }
    }
    check_socket(spec.runtime_dir.join(AGENT_SOCKET))
}

pub(super) fn check_programs(programs: &Programs) -> Result<(), MachineError> {
    for (program, path) in [("lkc-guest", &programs.guest_agent), ("k3s", &programs.k3s)] {
        let runs = fs::metadata(path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0);
        if !runs {
            return Err(MachineError::MissingProgram {
                program,
                path: path.clone(),
            });
        }
    }
    Ok(())
}

/// Makes everything that `sandbox-init` binds or mounts on.
pub(super) fn prepare(spec: &MachineSpec) -> Result<(), MachineError> {
    make_private(&spec.runtime_dir)?;
    for name in [ROOT_DIR, VAR_DIR, RANCHER_DIR] {
        let path = spec.state_dir.join(name);
        // What is in them is the guest's; that they are ours to enter is all that matters.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path)
            .map_err(MachineError::io("make", path))?;
    }
    let path = spec.state_dir.join(MACHINE_ID_FILE);
    if !path.exists() {
        write_machine_id(&path).map_err(MachineError::io("write", path))?;
    }
    Ok(())
}

fn write_machine_id(path: &Path) -> io::Result<()> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    writeln!(file, "{}", uuid.trim().replace('-', ""))
}
