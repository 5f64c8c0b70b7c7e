//! What no source file holds: unfinished code, switched-off tests, unexplained exceptions.

use crate::finding::none_expected;
use crate::lexer::names;
use crate::repository::{Source, sources};

#[test]
fn nothing_is_left_unfinished() {
    let macros = ["todo!", "unimplemented!"];
    let marks = [["FIX", "ME"], ["XX", "X"], ["HA", "CK"], ["TO", "DO"]].map(|pair| pair.concat());
    let mut findings = Vec::new();
    for source in sources("") {
        findings.extend(source.lines_where(&source.code, |line| {
            macros.iter().any(|name| names(line, name))
        }));
        let own_marks = |line: &str| marks.iter().any(|mark| names(line, mark));
        findings.extend(source.lines_where(&source.text, own_marks));
        let placeholder = ["To", " come."].concat();
        findings.extend(source.lines_where(&source.text, |line| line.contains(&placeholder)));
    }
    none_expected(
        "what is here works; what is missing is an issue",
        "finish it, or take it out and say in the module's doc what is deliberately absent",
        &findings,
    );
}

#[test]
fn no_test_is_switched_off() {
    let mut findings = Vec::new();
    for source in sources("") {
        findings.extend(source.lines_where(&source.code, |line| {
            let attribute = line.trim_start();
            attribute.starts_with("#[ignore") || attribute.contains(", ignore")
        }));
        findings.extend(source.lines_where(&source.text, |line| {
            let doc = line.trim_start();
            (doc.starts_with("///") || doc.starts_with("//!"))
                && doc.contains("```")
                && names(doc, "ignore")
        }));
    }
    none_expected(
        "a test runs everywhere; where it cannot it prints `skipped: REASON`, which fails CI",
        "mend the test or its environment; a document's code block that is no test is ```text",
        &findings,
    );
}

#[test]
fn an_exception_to_a_lint_has_a_reason() {
    let mut findings = Vec::new();
    for source in sources("") {
        for opening in ["#[expect(", "#![expect(", "#[allow(", "#![allow("] {
            for (at, _) in source.code.match_indices(opening) {
                let attribute = source.code[at..].split(")]").next().unwrap_or_default();
                if opening.contains("allow") || !names(attribute, "reason") {
                    findings.push(place(source, at));
                }
            }
        }
    }
    none_expected(
        "a lint is switched off by `#[expect(LINT, reason = \"…\")]` where it must be",
        "say why, or follow the lint; `expect` instead of `allow` tells when it is no longer needed",
        &findings,
    );
}

#[test]
fn unsafe_code_stands_under_its_own_exception() {
    let mut findings = Vec::new();
    for source in sources("") {
        let excused = names(&source.code, "unsafe_code");
        if !excused {
            findings.extend(source.lines_where(&source.code, |line| names(line, "unsafe")));
        }
    }
    none_expected(
        "unsafe code is an exception with a reason, and a SAFETY comment at each block",
        "use rustix or nix, which are safe; else `#[expect(unsafe_code, reason = \"…\")]` on the item",
        &findings,
    );
}

/// The one place where a test looks again and again, with a deadline, for what no event tells: that
/// a process or a file of another program is gone.
const WHERE_NOTHING_TELLS: &str = "tests/src/eventually.rs";

#[test]
fn nothing_sleeps_to_synchronise() {
    let mut findings = Vec::new();
    for source in sources("").filter(|source| source.path != WHERE_NOTHING_TELLS) {
        findings.extend(source.lines_where(&source.code, |line| {
            names(line, "thread::sleep") || names(line, "std::thread::sleep_ms")
        }));
    }
    none_expected(
        "nobody waits by sleeping",
        "wait for the event itself (a channel, a file's change, a child's end), with a deadline",
        &findings,
    );
}

fn place(source: &Source, at: usize) -> String {
    let line = source.code[..at].matches('\n').count();
    let shown = source.text.lines().nth(line).unwrap_or_default().trim();
    format!("{}:{}: {shown}", source.path, line + 1)
}
