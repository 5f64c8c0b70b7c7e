//! The files of the repository, read once per test.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer;

/// What git ignores, by name, wherever it stands.
const IGNORED: &[&str] = &[".git", "target", ".pending-snap", ".direnv", "result"];

/// A Rust source file.
pub(crate) struct Source {
    /// Path from the top of the repository, with `/`.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// Comments and literals blanked.
    pub(crate) code: String,
    /// `code` without what is only compiled for tests.
    pub(crate) production: String,
}

impl Source {
    /// `path:line` of each line of `text` that `matches`.
    pub(crate) fn lines_where(
        &self,
        text: &str,
        matches: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = String> {
        text.lines()
            .enumerate()
            .filter(|(_, line)| matches(line))
            .map(|(index, _)| self.place(index))
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn place(&self, index: usize) -> String {
        let shown = self.text.lines().nth(index).unwrap_or_default().trim();
        format!("{}:{}: {shown}", self.path, index + 1)
    }
}

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests package lies in the repository")
        .to_path_buf()
}

/// Every file that git would keep, as a path from the top, sorted.
pub(crate) fn files() -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), "", &mut found);
    found.sort();
    found
}

/// Every Rust file below a path from the top; all of them for `""`.
pub(crate) fn sources(below: &str) -> Vec<Source> {
    files()
        .into_iter()
        .filter(|path| path.ends_with(".rs") && path.starts_with(below))
        .map(|path| {
            let text = read(&path);
            let code = lexer::code_of(&text);
            let production = if is_test_file(&path) {
                "\n".repeat(code.lines().count())
            } else {
                lexer::production_of(&code)
            };
            Source {
                path,
                text,
                code,
                production,
            }
        })
        .collect()
}

/// A file that must be there.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|error| panic!("{path} must exist and be text: {error}"))
}

/// A file's text, or nothing if it is binary.
pub(crate) fn read_if_text(path: &str) -> Option<String> {
    String::from_utf8(read_bytes(path)).ok()
}

/// A file's bytes.
pub(crate) fn read_bytes(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path} cannot be read: {error}"))
}

/// Names of what lies directly in a directory of the repository.
pub(crate) fn names_in(directory: &str) -> Vec<String> {
    let path = root().join(directory);
    let entries =
        fs::read_dir(&path).unwrap_or_else(|error| panic!("{directory:?} must exist: {error}"));
    let mut names: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn walk(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if IGNORED.contains(&name.as_str()) || name.ends_with(".snap.new") {
            continue;
        }
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&entry.path(), &path, found),
            Ok(kind) if kind.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// Everything in the tests package but the simulator, and a crate's own tests.
fn is_test_file(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let in_crate = parts.get(1..).unwrap_or_default();
    parts[0] == "tests" && in_crate.first() != Some(&"k3s-simulator")
        || in_crate
            .iter()
            .any(|part| matches!(*part, "tests" | "tests.rs"))
}
