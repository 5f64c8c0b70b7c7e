//! What has no place in any file of the repository, and what belongs at its top.

use crate::finding::none_expected;
use crate::repository::{files, names_in, read_if_text};

/// What a reader sees first: nothing may join it without a thought.
const TOP_LEVEL: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "guest-agent",
    "host-agent",
    "nixos-module",
    "protocol",
    "tests",
];

/// May be there as well: a lock needs a reachable nixpkgs, and cargo makes the last.
const TOP_LEVEL_OPTIONAL: &[&str] = &["flake.lock", "flake.nix", "target"];

#[test]
fn the_top_level_is_exactly_what_was_decided() {
    let mut findings = Vec::new();
    let visible: Vec<_> = names_in("")
        .into_iter()
        .filter(|name| !name.starts_with('.'))
        .collect();
    for name in &visible {
        let known = TOP_LEVEL
            .iter()
            .chain(TOP_LEVEL_OPTIONAL)
            .any(|known| known == name);
        if !known {
            findings.push(format!("{name} is not one of them"));
        }
    }
    for name in TOP_LEVEL {
        if !visible.iter().any(|other| other == name) {
            findings.push(format!("{name} is missing"));
        }
    }
    none_expected(
        "the visible top level is the four packages, the NixOS module and the documents",
        "move a new file below the package it serves; a tool's settings are a dotfile",
        &findings,
    );
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let paths = [
        ["/wo", "rk/"],
        ["/ro", "ot/.cargo"],
        ["/ro", "ot/.rustup"],
        ["/tmp/tar", "get"],
        ["/tmp/bash", "_jobs"],
    ]
    .map(|pair| pair.concat());
    let findings = lines_of_all_files(|line| {
        paths.iter().any(|path| {
            line.match_indices(path).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|character| {
                    character.is_alphanumeric() || "._-*}~".contains(character)
                })
            })
        })
    });
    none_expected(
        "paths are relative to the repository, made at run time, or a standard directory",
        "use CARGO_MANIFEST_DIR, a temporary directory, or the path that a user would have",
        &findings,
    );
}

#[test]
fn no_file_names_a_package_registry() {
    let hosts = [
        ["index.", "crates.io"],
        ["static.", "crates.io"],
        ["py", "pi.org"],
        ["files.python", "hosted.org"],
        ["registry.npm", "js.org"],
        ["deb.", "debian.org"],
        ["security.", "debian.org"],
        ["proxy.", "golang.org"],
    ]
    .map(|pair| pair.concat());
    let findings = lines_of_all_files(|line| hosts.iter().any(|host| line.contains(host.as_str())));
    none_expected(
        "packages come from wherever the machine's package manager is set to look",
        "name the package, not the host",
        &findings,
    );
}

#[test]
fn no_file_refers_to_a_page_outside_the_repository() {
    let pages = [
        ["DESIGN", ".md"],
        ["DESIGN", " §"],
        ["shared", "/facts"],
        ["/br", "ief"],
    ]
    .map(|pair| pair.concat());
    let findings = lines_of_all_files(|line| pages.iter().any(|page| line.contains(page.as_str())));
    none_expected(
        "what a reader is referred to can be read here",
        "say it in place, or refer to ARCHITECTURE.md, PROTOCOL.md or the README",
        &findings,
    );
}

fn lines_of_all_files(matches: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for path in files() {
        let Some(text) = read_if_text(&path) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            if matches(line) {
                findings.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    findings
}
