//! A vector and its file: a comment that says what it is, then hexadecimal digits.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf, process::Command};

use bytes::Bytes;

const BYTES_IN_A_LINE: usize = 32;

pub(crate) struct Vector {
    /// Name of its file, without `.hex`.
    pub(crate) name: String,
    /// What it is, one line.
    pub(crate) about: String,
    pub(crate) bytes: Bytes,
}

impl Vector {
    pub(crate) fn new(name: &str, about: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            bytes: bytes.into(),
        }
    }

    /// Makes its file and lists it, when there is none.
    pub(crate) fn write_unless_there(&self) {
        let path = directory().join(format!("{}.hex", self.name));
        if path.exists() {
            return;
        }
        let mut text = format!("# {}\n", self.about);
        for line in self.bytes.chunks(BYTES_IN_A_LINE) {
            for byte in line {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        fs::write(&path, text).unwrap();
        let listed = format!("v1/{}.hex", self.name);
        let sum = Command::new("sha256sum")
            .arg(&listed)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(sum.status.success());
        let sums = root().join("SHA256SUMS");
        let mut lines = fs::read_to_string(&sums).unwrap_or_default();
        lines.push_str(std::str::from_utf8(&sum.stdout).unwrap());
        fs::write(sums, lines).unwrap();
    }
}

/// The bytes of a committed vector.
pub(crate) fn read(name: &str) -> Bytes {
    let path = directory().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; WRITE_MISSING_VECTORS=1 writes a new one",
            path.display()
        )
    });
    parse(&text)
}

/// The names of all committed vectors.
pub(crate) fn committed() -> BTreeSet<String> {
    fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".hex").unwrap_or(&name).to_owned())
        .collect()
}

fn parse(text: &str) -> Bytes {
    assert!(text.starts_with("# "), "a vector begins with what it is");
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte is left over");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

fn directory() -> PathBuf {
    root().join("v1")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}
