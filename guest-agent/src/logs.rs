//! Log files: their last lines, what is added to them, and a bound on their size.
//!
//! Lines are bounded; a file that is rotated or truncated is followed into its new content.

mod follow;
mod split;
mod tail;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use follow::lines;
pub use tail::tail;

/// Bytes of a line that are kept, the wire's bound.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// Lines of the past that one request gets at most.
pub const MAX_TAIL: usize = 100_000;

/// Renames a file that has grown beyond a size to its name with `.1`, over an older such file.
/// True when it did.
///
/// # Errors
/// When the file cannot be looked at or renamed. That it is not there is fine.
pub fn rotate_if_larger(path: &Path, max_bytes: u64) -> std::io::Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > max_bytes => {
            std::fs::rename(path, rotated_path(path))?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn rotated_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// A line without its end, cut to [`MAX_LINE_BYTES`] at a character's boundary.
pub(crate) fn line_text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_LINE_BYTES)]).into_owned();
    if text.len() > MAX_LINE_BYTES {
        let end = (0..=MAX_LINE_BYTES)
            .rev()
            .find(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_rotated_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k3s.log");
        assert!(!rotate_if_larger(&path, 10).unwrap());
        std::fs::write(&path, "0123456789").unwrap();
        assert!(!rotate_if_larger(&path, 10).unwrap());
        std::fs::write(&path, "0123456789a").unwrap();
        std::fs::write(rotated_path(&path), "older").unwrap();
        assert!(rotate_if_larger(&path, 10).unwrap());
        assert!(!path.exists());
        assert_eq!(
            std::fs::read_to_string(rotated_path(&path)).unwrap(),
            "0123456789a"
        );
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(line_text(b"a\r"), "a");
        assert_eq!(line_text(&[b'x'; 3 * MAX_LINE_BYTES]).len(), MAX_LINE_BYTES);
        assert!(line_text(&[0xff; 3 * MAX_LINE_BYTES]).len() <= MAX_LINE_BYTES);
    }
}
