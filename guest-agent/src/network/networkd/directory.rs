//! Our files among those of systemd-networkd.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{fs, str};

use super::render::{File, PREFIX};

/// Where files are read from that do not outlive the boot; `/etc` is read-only on NixOS.
pub(in super::super) const DIRECTORY: &str = "/run/systemd/network";

/// Largest file of ours that is read back, in bytes; 256 routes make some 20 KiB.
const MOST_BYTES: u64 = 256 * 1024;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}", path.display())]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// All files of ours, sorted.
pub(in super::super) fn read(directory: &Path) -> Result<Vec<File>, FileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FileError {
            what: "read",
            path,
            source,
        }
    };
    let mut files = Vec::new();
    for name in names(directory).map_err(failed(directory))? {
        let path = directory.join(&name);
        let size = fs::metadata(&path).map_err(failed(&path))?.len();
        if size > MOST_BYTES {
            let message = io::Error::other(format!("{size} bytes are more than it can have"));
            return Err(failed(&path)(message));
        }
        let text = fs::read_to_string(&path).map_err(failed(&path))?;
        files.push(File { name, text });
    }
    files.sort();
    Ok(files)
}

/// Makes `files` all that there is of ours; each is there whole or not at all. Tells whether that
/// changed anything.
pub(in super::super) fn replace(directory: &Path, files: &[File]) -> Result<bool, FileError> {
    let mut changed = false;
    fs::create_dir_all(directory).map_err(|source| FileError {
        what: "make",
        path: directory.to_owned(),
        source,
    })?;
    for file in files {
        let path = directory.join(&file.name);
        if fs::read(&path).is_ok_and(|there| there == file.text.as_bytes()) {
            continue;
        }
        write(directory, file).map_err(|source| FileError {
            what: "write",
            path,
            source,
        })?;
        changed = true;
    }
    let listed = names(directory).map_err(|source| FileError {
        what: "read",
        path: directory.to_owned(),
        source,
    })?;
    for name in listed {
        if files.iter().any(|file| file.name == name) {
            continue;
        }
        let path = directory.join(name);
        fs::remove_file(&path).map_err(|source| FileError {
            what: "remove",
            path,
            source,
        })?;
        changed = true;
    }
    Ok(changed)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_str().filter(|name| name.starts_with(PREFIX));
        names.extend(name.map(str::to_owned));
    }
    Ok(names)
}

fn write(directory: &Path, file: &File) -> io::Result<()> {
    let mut temporary = tempfile::Builder::new()
        .prefix(".lkc-")
        // networkd reads them as its own user.
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(directory)?;
    temporary.write_all(file.text.as_bytes())?;
    // The mask of the agent is stricter.
    temporary
        .as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    temporary.persist(directory.join(&file.name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn what_is_not_ours_stays_and_what_is_ours_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("systemd/network");
        assert_eq!(read(&directory).unwrap(), []);
        let first = [file("00-lkc-a.link", "1"), file("00-lkc-a.network", "2")];
        assert!(replace(&directory, &first).unwrap());
        fs::write(directory.join("10-dhcp-fallback.network"), "theirs").unwrap();
        assert!(!replace(&directory, &first).unwrap());
        assert_eq!(read(&directory).unwrap(), first);
        let mode = fs::metadata(directory.join("00-lkc-a.link")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o644);

        let second = [file("00-lkc-a.network", "3")];
        assert!(replace(&directory, &second).unwrap());
        assert_eq!(read(&directory).unwrap(), second);
        assert!(directory.join("10-dhcp-fallback.network").exists());
        assert!(replace(&directory, &[]).unwrap());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("file");
        fs::write(&blocked, "").unwrap();
        let error = replace(&blocked.join("network"), &[]).unwrap_err();
        assert!(error.to_string().starts_with("cannot make "), "{error}");
        fs::write(directory.path().join("00-lkc-a.link"), vec![b'x'; 300_000]).unwrap();
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().starts_with("cannot read "), "{error}");
    }
}
