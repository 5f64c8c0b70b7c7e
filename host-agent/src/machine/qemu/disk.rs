//! The machine's disk: an overlay of its own over an image that is never written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::QemuError;
use super::tool::qemu_img;
use crate::machine::{MachineError, VmSpec};

/// Names in the state directory.
const DISK_FILE: &str = "disk.qcow2";
const UNFINISHED_DISK_FILE: &str = "disk.qcow2.new";
const BASE_FILE: &str = "image.json";

const MIB: u64 = 1024 * 1024;

/// What the disk rests on, as it was when the disk was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Base {
    image: PathBuf,
    size: u64,
    /// Seconds and nanoseconds since 1970 of the last change.
    changed: (i64, i64),
}

/// What `qemu-img info` says of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    format: String,
    virtual_size: u64,
}

/// Where the disk is.
pub(super) fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(DISK_FILE)
}

/// Makes the disk, or sees to it that the one that is there still rests on its image and is as
/// large as asked.
pub(super) async fn prepare(vm: &VmSpec, state_dir: &Path) -> Result<PathBuf, MachineError> {
    let base = base_of(&vm.image)?;
    let disk = path(state_dir);
    match kept_base(state_dir)? {
        Some(kept) if disk.exists() => {
            compare(&kept, &base)?;
            let info = info(&disk).await?;
            enlarge(vm, &info, &disk).await?;
        }
        _ => make(vm, &base, state_dir, &disk).await?,
    }
    Ok(disk)
}

async fn make(vm: &VmSpec, base: &Base, state_dir: &Path, disk: &Path) -> Result<(), MachineError> {
    let image = info(&base.image).await?;
    let unfinished = state_dir.join(UNFINISHED_DISK_FILE);
    let size = vm.disk_mib.map_or(image.virtual_size, |mib| {
        image.virtual_size.max(u64::from(mib) * MIB)
    });
    let size = size.to_string();
    qemu_img(
        "qemu-img create",
        [
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-F".as_ref(),
            image.format.as_ref(),
            "-b".as_ref(),
            base.image.as_os_str(),
            unfinished.as_os_str(),
            size.as_ref(),
        ],
    )
    .await?;
    let json = serde_json::to_vec_pretty(base).unwrap_or_default();
    let record = state_dir.join(BASE_FILE);
    fs::write(&record, json).map_err(MachineError::io("write", record))?;
    fs::rename(&unfinished, disk).map_err(MachineError::io("rename", unfinished))
}

async fn enlarge(vm: &VmSpec, disk: &Info, path: &Path) -> Result<(), MachineError> {
    let Some(wanted_mib) = vm.disk_mib else {
        return Ok(());
    };
    let wanted = u64::from(wanted_mib) * MIB;
    if wanted < disk.virtual_size {
        return Err(QemuError::Shrinks {
            have_mib: disk.virtual_size / MIB,
            wanted_mib,
        }
        .into());
    }
    if wanted > disk.virtual_size {
        let size = wanted.to_string();
        qemu_img(
            "qemu-img resize",
            [
                "resize".as_ref(),
                "-q".as_ref(),
                path.as_os_str(),
                size.as_ref(),
            ],
        )
        .await?;
    }
    Ok(())
}

async fn info(path: &Path) -> Result<Info, QemuError> {
    let bad = |why: String| QemuError::BadImage {
        path: path.to_owned(),
        why,
    };
    let json = qemu_img(
        "qemu-img info",
        ["info".as_ref(), "--output=json".as_ref(), path.as_os_str()],
    )
    .await
    .map_err(|error| match error {
        QemuError::Tool { why, .. } => bad(why),
        other => other,
    })?;
    serde_json::from_slice(&json).map_err(|error| bad(error.to_string()))
}

fn base_of(image: &Path) -> Result<Base, MachineError> {
    let metadata = match fs::metadata(image) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(QemuError::MissingImage(image.to_owned()).into());
        }
        Err(error) => return Err(MachineError::io("read", image)(error)),
    };
    // Whether it can be read, said before QEMU says it in its own words.
    fs::File::open(image).map_err(MachineError::io("read", image))?;
    Ok(Base {
        image: image.to_owned(),
        size: metadata.len(),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

/// None when there is none, or none that can be understood: then there is no disk to keep either.
fn kept_base(state_dir: &Path) -> Result<Option<Base>, MachineError> {
    let path = state_dir.join(BASE_FILE);
    match fs::read(&path) {
        Ok(json) => Ok(serde_json::from_slice(&json).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MachineError::io("read", path)(error)),
    }
}

fn compare(kept: &Base, now: &Base) -> Result<(), QemuError> {
    if kept.image != now.image {
        return Err(QemuError::OtherImage {
            made_from: kept.image.clone(),
            image: now.image.clone(),
        });
    }
    if kept != now {
        return Err(QemuError::ImageChanged(now.image.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_goes_on_only_over_the_image_that_it_was_made_from() {
        let base = Base {
            image: "/img/a.qcow2".into(),
            size: 1,
            changed: (2, 3),
        };
        assert!(compare(&base, &base).is_ok());
        let other = Base {
            image: "/img/b.qcow2".into(),
            size: base.size,
            changed: base.changed,
        };
        assert!(matches!(
            compare(&base, &other),
            Err(QemuError::OtherImage { .. })
        ));
        let rewritten = Base {
            size: base.size,
            changed: (2, 4),
            image: base.image.clone(),
        };
        assert!(matches!(
            compare(&base, &rewritten),
            Err(QemuError::ImageChanged(_))
        ));
    }

    #[test]
    fn an_image_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("nixos.qcow2");
        let error = base_of(&image).unwrap_err();
        assert!(matches!(
            error,
            MachineError::Qemu(QemuError::MissingImage(_))
        ));
    }
}
