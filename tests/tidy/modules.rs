//! Files and their names: every source file belongs to a module, has one idea, and a telling name.

use crate::finding::none_expected;
use crate::lexer::names;
use crate::repository::{Source, files, sources};

/// Where a file is read end to end in one sitting.
const MOST_LINES: usize = 600;

/// Longer files, each with the reason why splitting it would make it harder to read.
const LONG_FILES: &[(&str, &str)] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "manager",
    "misc",
    "types",
    "prelude",
    "constants",
    "mod",
];

#[test]
fn names_tell_what_is_inside() {
    let mut findings = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with(".rs")) {
        let empty = path
            .split('/')
            .any(|part| EMPTY_NAMES.contains(&part.trim_end_matches(".rs")));
        if empty {
            findings.push(path);
        }
    }
    none_expected(
        "a file is named after its concept",
        "put each item with the concept that it serves; `foo/mod.rs` is `foo.rs` here",
        &findings,
    );
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut findings = Vec::new();
    for source in sources("") {
        let lines = source.text.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        match (lines > MOST_LINES, excused) {
            (true, false) => findings.push(format!("{} has {lines} lines", source.path)),
            (false, true) => findings.push(format!("{} is short now: unlist it", source.path)),
            _ => {}
        }
    }
    none_expected(
        &format!("a file has one idea and at most {MOST_LINES} lines"),
        "split it where a second idea begins, or list it in modules.rs with a reason",
        &findings,
    );
}

#[test]
fn every_file_is_part_of_a_crate() {
    let all = sources("");
    let findings: Vec<_> = all
        .iter()
        .filter(|source| !is_crate_root(&source.path) && !is_declared(source, &all))
        .map(|source| source.path.clone())
        .collect();
    none_expected(
        "a source file is declared as a module, else nothing compiles or tests it",
        "add `mod NAME;` to its parent, or delete the file",
        &findings,
    );
}

/// Roots that cargo finds or a manifest names.
fn is_crate_root(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    let integration_test = parts.len() == 3 && parts[1] == "tests";
    integration_test
        || path.ends_with("/build.rs")
        || path.contains("/fuzz_targets/")
        || matches!(parts.last(), Some(&"main.rs" | &"lib.rs"))
}

fn is_declared(source: &Source, all: &[Source]) -> bool {
    let Some((directory, file)) = source.path.rsplit_once('/') else {
        return false;
    };
    let declaration = format!("mod {}", file.trim_end_matches(".rs"));
    let parents = [
        format!("{directory}.rs"),
        format!("{directory}/lib.rs"),
        format!("{directory}/main.rs"),
    ];
    let parent_declares = |parent: &Source| {
        parents.contains(&parent.path) && parent.code.lines().any(|line| names(line, &declaration))
    };
    let by_path = format!("#[path = \"{file}\"]");
    let by_longer_path = format!("/{file}\"]");
    all.iter().any(|other| {
        parent_declares(other)
            || other.text.contains(&by_path)
            || other
                .text
                .lines()
                .any(|line| line.contains("#[path") && line.contains(&by_longer_path))
    })
}
