//! Where the disk image of a machine is: a file, the only one in a directory, or what a flake's
//! output is built to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::error::QemuError;
use super::tool;
use crate::machine::MachineError;

/// How disk images are called.
const EXTENSIONS: [&str; 3] = ["qcow2", "raw", "img"];

/// Longest way down from what a flake built: `nix-support`, `iso`, `disk` and the like.
const MAX_DEPTH: usize = 2;

/// Has nix build an output of a flake, keeps it by `link`, and finds the image in it. What nix says
/// goes to stderr.
///
/// # Errors
/// There is no nix, it fails, or there is not exactly one image in what it built.
pub async fn build(output: &str, link: &Path) -> Result<PathBuf, MachineError> {
    let nix = tool::needed("nix", "nix-bin")?;
    let status = Command::new(nix)
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args(["build", "--out-link"])
        .arg(link)
        .arg("--")
        .arg(output)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .map_err(MachineError::io("run", "nix"))?;
    if !status.success() {
        return Err(QemuError::Tool {
            tool: "nix build",
            why: format!("{output}: {status}"),
        }
        .into());
    }
    locate(link)
}

/// The image that a path means, with every link followed, so that a machine's disk does not end up
/// over another image when a link is moved.
///
/// # Errors
/// It is not there, or is a directory with no image or several.
pub fn locate(path: &Path) -> Result<PathBuf, MachineError> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(QemuError::MissingImage(path.to_owned()).into());
        }
        Err(error) => return Err(MachineError::io("read", path)(error)),
    };
    if !real.is_dir() {
        return Ok(real);
    }
    let mut found = Vec::new();
    collect(&real, MAX_DEPTH, &mut found).map_err(MachineError::io("read", &real))?;
    let why = match &found[..] {
        [only] => return Ok(only.clone()),
        [] => format!("no file in it ends in .{}", EXTENSIONS.join(", .")),
        several => format!("{} images are in it: name one of them", several.len()),
    };
    Err(QemuError::BadImage { path: real, why }.into())
}

fn collect(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_image = path
            .extension()
            .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known));
        if path.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        } else if is_image {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_to_a_directory_with_one_image_is_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let built = dir.path().join("store");
        fs::create_dir_all(built.join("nix-support")).unwrap();
        fs::write(built.join("nix-support/hydra-build-products"), "").unwrap();
        let link = dir.path().join("result");
        symlink(&built, &link).unwrap();
        let none = locate(&link).unwrap_err().to_string();
        assert!(none.contains("no file in it ends in .qcow2"), "{none}");
        let image = built.join("nixos.qcow2");
        fs::write(&image, "").unwrap();
        assert_eq!(locate(&link).unwrap(), fs::canonicalize(&image).unwrap());
        fs::write(built.join("other.img"), "").unwrap();
        let two = locate(&link).unwrap_err().to_string();
        assert!(two.contains("2 images are in it"), "{two}");
        let missing = locate(&dir.path().join("nowhere")).unwrap_err();
        assert!(matches!(
            missing,
            MachineError::Qemu(QemuError::MissingImage(_))
        ));
    }
}
