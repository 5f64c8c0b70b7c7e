//! Golden vectors of the wire are added to, never edited.

use crate::finding::none_expected;
use crate::repository::{files, read, read_bytes};
use crate::sha256;

const DIRECTORY: &str = "protocol/tests/vectors/";
const MANIFEST: &str = "SHA256SUMS";

#[test]
fn golden_vectors_are_as_they_were_first_committed() {
    let manifest = read(&format!("{DIRECTORY}{MANIFEST}"));
    let listed: Vec<(&str, &str)> = manifest
        .lines()
        .filter_map(|line| line.split_once("  "))
        .collect();
    let present: Vec<_> = files()
        .into_iter()
        .filter_map(|path| path.strip_prefix(DIRECTORY).map(str::to_owned))
        .filter(|name| name != MANIFEST)
        .collect();
    let mut findings = Vec::new();
    for (sum, name) in &listed {
        if !present.iter().any(|other| other == name) {
            findings.push(format!("{name} is listed, but gone"));
        } else if sha256::hex(&read_bytes(&format!("{DIRECTORY}{name}"))) != *sum {
            findings.push(format!("{name} was changed"));
        }
    }
    for name in &present {
        if !listed.iter().any(|(_, other)| other == name) {
            findings.push(format!("{name} is not listed"));
        }
    }
    assert!(!present.is_empty(), "{DIRECTORY} has no vectors");
    none_expected(
        "a golden vector is what an older agent sends: it is never edited and never removed",
        &format!(
            "restore a changed file and add a new one beside it; list a new one with \
             `cd {DIRECTORY} && sha256sum NAME >> {MANIFEST}`"
        ),
        &findings,
    );
}
