//! The commands in the tests of NixOS, which no machine here can run, are commands of the programs.

use std::path::Path;

use clap::Parser as _;
use lkc_host::cli::shield_kubectl;
use serde_json::Value;

use crate::evaluated;

#[test]
fn every_command_of_the_nixos_tests_can_be_understood() {
    let Some(made) = evaluated("flake.nix") else {
        return;
    };
    let scripts = made["scripts"].as_object().unwrap();
    assert_eq!(
        scripts.keys().collect::<Vec<_>>(),
        [
            "dual-nic",
            "reboot",
            "rollback",
            "single-node",
            "two-clusters"
        ]
    );
    for (name, script) in scripts {
        let mut hosts = 0;
        // What Python puts there is the name of a cluster.
        let script = script.as_str().unwrap().replace("{cluster}", "k3s-dev");
        for line in script.lines() {
            for (program, words) in commands(line) {
                let understood = match program {
                    "lkc-host" => {
                        let words = words.iter().map(Into::into).collect();
                        lkc_host::cli::Cli::try_parse_from(shield_kubectl(words)).map(drop)
                    }
                    _ => lkc_guest::config::Cli::try_parse_from(&words).map(drop),
                };
                if let Err(error) = understood {
                    panic!("{name}: {line}\n{error}");
                }
                hosts += usize::from(program == "lkc-host");
            }
        }
        assert!(hosts > 0, "{name} runs no lkc-host");
    }
}

#[test]
fn the_files_of_the_nixos_tests_can_be_read() {
    let Some(made) = evaluated("flake.nix") else {
        return;
    };
    for (name, text) in made["files"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        let path = Path::new("/etc/xdg/lkc/lkc.toml");
        let config = lkc_host::config::parse(text, path, Path::new("/root"));
        let config = config.unwrap_or_else(|error| panic!("{name}: {error:?}\n{text}"));
        assert!(
            config.clusters.iter().all(|(spec, _)| spec.reach.is_some()),
            "{name}"
        );
    }
    assert_eq!(
        made["machines"],
        Value::from(["x86_64-linux", "aarch64-linux"].to_vec())
    );
}

/// The programs of ours that a line runs, each with its words up to the end of its command.
fn commands(line: &str) -> Vec<(&'static str, Vec<&str>)> {
    let mut found = Vec::new();
    for program in ["lkc-host", "lkc-guest"] {
        for (at, _) in line.match_indices(program) {
            let rest = &line[at..];
            let alone = at == 0
                || !line[..at].ends_with(|c: char| c.is_alphanumeric() || "/.-_".contains(c));
            let end = rest
                .find(['"', '\'', '|', ';', '>', '&', ')'])
                .unwrap_or(rest.len());
            let words: Vec<_> = rest[..end].split_whitespace().collect();
            if alone && words.len() > 1 && words[0] == program {
                found.push((program, words));
            }
        }
    }
    found
}
