//! The hosts that came by a token: a public key and a name a line, as in the list that this guest is
//! given. A line that is taken out is a host that is not let in any more.

use std::{fs, io, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use lkc_protocol::identity::PublicKey;

use crate::config::parse_hosts;

/// Largest file in bytes.
const LARGEST: u64 = 64 * 1024;

/// Longest name of a host, for people.
const LONGEST_NAME: usize = 64;

/// None when there is no file.
pub(super) fn read(path: &Path) -> io::Result<Vec<PublicKey>> {
    let text = text(path)?;
    parse_hosts(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Adds a host, once.
pub(super) fn add(path: &Path, host: PublicKey, name: &str) -> io::Result<()> {
    let mut text = text(path)?;
    if read(path)?.contains(&host) {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // A name is the host's own word and stays within its line.
    let name: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        .take(LONGEST_NAME)
        .collect();
    text.push_str(format!("{host} {name}").trim_end());
    text.push('\n');
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(directory)?.sync_all()
}

fn text(path: &Path) -> io::Result<String> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        Ok(found) if found.len() > LARGEST => Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => fs::read_to_string(path),
    }
}

#[cfg(test)]
mod tests {
    use lkc_protocol::identity::Identity;

    use super::*;

    #[test]
    fn hosts_are_added_once_and_keep_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/authorized_hosts");
        assert_eq!(read(&path).unwrap(), []);
        let keys: Vec<_> = (0..2)
            .map(|_| Identity::generate().unwrap().public_key())
            .collect();
        add(&path, keys[0], "laptop\ned25519:evil").unwrap();
        add(&path, keys[0], "again").unwrap();
        add(&path, keys[1], "").unwrap();
        assert_eq!(read(&path).unwrap(), keys);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            format!("{} laptoped25519evil\n{}\n", keys[0], keys[1])
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_lets_nobody_in_and_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("authorized_hosts");
        let key = Identity::generate().unwrap().public_key();
        for text in ["no key at all\n", &"#".repeat(100_000)] {
            fs::write(&path, text).unwrap();
            assert!(read(&path).is_err());
            assert!(add(&path, key, "host").is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), *text);
        }
    }
}
