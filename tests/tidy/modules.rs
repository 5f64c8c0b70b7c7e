//! Files and their names: every source file belongs to a module, has one idea, and a telling name.

use std::collections::BTreeSet;

use crate::finding::none_expected;
use crate::repository::{files, modules_of, sources};

/// Where a file is read end to end in one sitting.
const MOST_LINES: usize = 600;

/// Longer files, each with the reason why splitting it would make it harder to read.
const LONG_FILES: &[(&str, &str)] = &[
    (
        "host-agent/src/config/tests/reports.rs",
        "every error of lkc.toml as it is shown: one picture after the other",
    ),
    (
        "tests/k3s-simulator/protobuf/schema.rs",
        "a table: the fields of each kind that kubectl sends",
    ),
];

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
    let declared: BTreeSet<_> = sources("")
        .flat_map(modules_of)
        .map(|module| module.path)
        .collect();
    let findings: Vec<_> = sources("")
        .map(|source| source.path.clone())
        .filter(|path| !is_crate_root(path) && !declared.contains(path.trim_end_matches(".rs")))
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
