//! How a guest gets its keys: as systemd credentials, by SMBIOS strings or fw_cfg files.
//!
//! Command lines can be read by every user of the host, so QEMU is given files. They are there as
//! long as the machine is: a guest that is reset is one that is started again.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::architecture::Architecture;
use crate::machine::{GuestFile, MachineError};

/// What the names of the files begin with.
const FILE_PREFIX: &str = "credential-";

/// The files of a guest that has no directory of ours, and what its agent knows them as.
const KNOWN: [(&str, &str); 3] = [
    ("identity.pem", "lkc.identity"),
    ("authorized_hosts", "lkc.authorized_hosts"),
    ("network.yaml", "lkc.network"),
];

/// A credential, in the file that QEMU reads it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
}

impl Credential {
    /// QEMU's option for it.
    pub(super) const fn option(&self, architecture: Architecture) -> &'static str {
        match architecture {
            Architecture::X86_64 => "-smbios",
            Architecture::Aarch64 => "-fw_cfg",
        }
    }
}

/// Writes what the guest gets to files in `dir`.
pub(super) fn write(
    files: &[GuestFile],
    architecture: Architecture,
    dir: &Path,
) -> Result<Vec<Credential>, MachineError> {
    files
        .iter()
        .map(|file| {
            let name = credential_name(&file.path)?;
            let path = dir.join(format!("{FILE_PREFIX}{name}"));
            write_private(&path, &contents(name, &file.contents, architecture))
                .map_err(MachineError::io("write", &path))?;
            Ok(Credential { name, path })
        })
        .collect()
}

/// Removes the files, whoever wrote them.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(FILE_PREFIX) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn credential_name(path: &Path) -> Result<&'static str, MachineError> {
    let file = path.file_name().unwrap_or_default();
    KNOWN
        .iter()
        .find(|(known, _)| *known == file)
        .map(|(_, name)| *name)
        .ok_or_else(|| MachineError::BadSpec {
            what: "file",
            why: format!("{} is no credential of the agent", path.display()),
        })
}

/// An SMBIOS string has no line breaks, hence base64; fw_cfg takes bytes as they are.
fn contents(name: &str, secret: &[u8], architecture: Architecture) -> Vec<u8> {
    match architecture {
        Architecture::X86_64 => format!(
            "io.systemd.credential.binary:{name}={}",
            STANDARD.encode(secret)
        )
        .into_bytes(),
        Architecture::Aarch64 => secret.to_vec(),
    }
}

fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(contents)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn file(name: &str) -> GuestFile {
        GuestFile {
            path: Path::new("/etc/lkc").join(name),
            contents: b"a key\n".to_vec(),
            mode: 0o600,
        }
    }

    #[test]
    fn credentials_are_private_files_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = [file("identity.pem"), file("authorized_hosts")];
        for (architecture, option, expected) in [
            (
                Architecture::X86_64,
                "-smbios",
                "io.systemd.credential.binary:lkc.identity=YSBrZXkK",
            ),
            (Architecture::Aarch64, "-fw_cfg", "a key\n"),
        ] {
            let written = write(&files, architecture, dir.path()).unwrap();
            assert_eq!(written[1].name, "lkc.authorized_hosts");
            let identity = &written[0];
            assert_eq!(identity.option(architecture), option);
            assert_eq!(fs::read_to_string(&identity.path).unwrap(), expected);
            assert_eq!(fs::metadata(&identity.path).unwrap().mode() & 0o777, 0o600);
        }
        fs::write(dir.path().join("qmp.sock"), "").unwrap();
        remove(dir.path()).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn a_file_that_the_agent_would_not_look_for_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = write(&[file("motd")], Architecture::X86_64, dir.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the machine's file is not usable: /etc/lkc/motd is no credential of the agent"
        );
    }
}
