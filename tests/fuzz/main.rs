//! The corpora replayed: every input that fuzzing found worth keeping is checked as an ordinary test.
//!
//! `README.md` here says how new ones are found.

#[path = "src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, which are a package of their own"
)]
mod checks;

use std::{
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use checks::TARGETS;
use lkc_protocol::message::REGISTRY;

/// Bytes of all corpora: they are read by whoever clones the repository.
const MOST_BYTES: u64 = 400 * 1024;

#[test]
fn every_kept_input_is_handled() {
    let mut findings = Vec::new();
    for (target, check) in TARGETS {
        for path in inputs(target) {
            let input =
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if panic::catch_unwind(AssertUnwindSafe(|| check(&input))).is_err() {
                findings.push(shown(&path));
            }
        }
    }
    assert!(
        findings.is_empty(),
        "what is said above was said of:\n  {}\n",
        findings.join("\n  ")
    );
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_nothing_is_left_over() {
    let targets: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "a name is there twice");
    let programs: BTreeSet<_> = names_in(&fuzz_dir().join("fuzz_targets"))
        .into_iter()
        .map(|name| name.trim_end_matches(".rs").to_owned())
        .collect();
    assert_eq!(programs, targets, "fuzz_targets/ against src/lib.rs");
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for target in &targets {
        let program = format!("\nname = \"{target}\"\npath = \"fuzz_targets/{target}.rs\"\n");
        assert!(
            manifest.contains(&program),
            "Cargo.toml lacks [[bin]]{program}"
        );
    }
    let corpora: BTreeSet<_> = names_in(&fuzz_dir().join("corpus")).into_iter().collect();
    assert_eq!(corpora, targets, "corpus/ against src/lib.rs");
    for target in &targets {
        assert!(
            inputs(target).len() >= 3,
            "corpus/{target} has hardly any input"
        );
    }
}

#[test]
fn the_corpora_are_small() {
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|(target, _)| inputs(target))
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes, more than {MOST_BYTES}");
}

#[test]
fn every_message_is_checked() {
    for (number, name) in REGISTRY {
        let number = u8::try_from(*number);
        let number = number.unwrap_or_else(|_| panic!("{name} has a number over a byte"));
        checks::messages::check_bytes(&[number]);
        checks::messages::check_values(&[number]);
    }
}

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let directory = fuzz_dir().join("corpus").join(target);
    names_in(&directory)
        .iter()
        .map(|name| directory.join(name))
        .collect()
}

/// Sorted, and none where there is no such directory.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn shown(path: &Path) -> String {
    let below = path.strip_prefix(fuzz_dir()).unwrap_or(path);
    Path::new("tests/fuzz").join(below).display().to_string()
}
