//! The files of the repository, read once per test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

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
pub(crate) fn sources(below: &str) -> impl Iterator<Item = &'static Source> {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    let below = below.to_owned();
    SOURCES
        .get_or_init(read_sources)
        .iter()
        .filter(move |source| source.path.starts_with(&below))
}

fn read_sources() -> Vec<Source> {
    let mut sources: Vec<_> = files()
        .into_iter()
        .filter(|path| path.ends_with(".rs"))
        .map(|path| {
            let text = read(&path);
            let code = lexer::code_of(&text);
            let production = lexer::production_of(&code);
            Source {
                path,
                text,
                code,
                production,
            }
        })
        .collect();
    let test_modules: Vec<_> = sources
        .iter()
        .flat_map(modules_of)
        .filter(|module| module.for_tests)
        .map(|module| module.path)
        .collect();
    for source in &mut sources {
        let below = source.path.trim_end_matches(".rs");
        let in_test_module = test_modules
            .iter()
            .any(|module| below == module || below.starts_with(&format!("{module}/")));
        if in_test_module || is_in_test_tree(&source.path) {
            source.production = "\n".repeat(source.code.lines().count());
        }
    }
    sources
}

/// A `mod name;`.
pub(crate) struct Module {
    /// Where its file is, without `.rs`.
    pub(crate) path: String,
    /// Behind a `cfg` that names `test`.
    for_tests: bool,
}

/// The modules that a file declares and that are files of their own.
pub(crate) fn modules_of(source: &Source) -> Vec<Module> {
    let own = source.path.trim_end_matches(".rs");
    let directory = own
        .strip_suffix("/lib")
        .or_else(|| own.strip_suffix("/main"))
        .unwrap_or(own);
    let mut found = Vec::new();
    let mut for_tests = false;
    let mut other_path = None;
    for (line, written) in source.code.lines().zip(source.text.lines()) {
        let line = line.trim();
        if line.starts_with("#[") {
            for_tests |= line.starts_with("#[cfg(") && lexer::names(line, "test");
            other_path = written.trim().strip_prefix("#[path = \"").or(other_path);
            continue;
        }
        let module = line
            .strip_suffix(';')
            .and_then(|line| line.rsplit_once("mod "));
        if let Some((_, name)) = module.filter(|(before, _)| !before.ends_with(lexer::is_word)) {
            let path = match other_path.and_then(|path| path.strip_suffix(".rs\"]")) {
                Some(path) => format!("{}/{path}", own.rsplit_once('/').map_or("", |pair| pair.0)),
                None => format!("{directory}/{name}"),
            };
            found.push(Module { path, for_tests });
        }
        for_tests = false;
        other_path = None;
    }
    found
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

/// Everything in the tests package but the simulator, and a crate's own integration tests.
fn is_in_test_tree(path: &str) -> bool {
    let mut parts = path.split('/');
    match (parts.next(), parts.next()) {
        (Some("tests"), second) => second != Some("k3s-simulator"),
        (_, second) => second == Some("tests"),
    }
}
