//! Who may know whom: the boundaries between the packages and inside the protocol.

use std::process::Command;

use crate::finding::none_expected;
use crate::lexer::names;
use crate::manifests::Manifest;
use crate::repository::{Source, root, sources};

#[test]
fn the_agents_share_only_the_protocol() {
    let forbidden = [
        ("protocol", &["host-agent", "guest-agent", "lkc-tests"][..]),
        ("host-agent", &["guest-agent", "lkc-tests"]),
        ("guest-agent", &["host-agent", "lkc-tests"]),
    ];
    let mut findings = Vec::new();
    for (package, strangers) in forbidden {
        let manifest = Manifest::of(package);
        for dependency in &manifest.dependencies {
            if strangers.contains(&dependency.name.as_str()) {
                findings.push(format!(
                    "{package}/Cargo.toml depends on {}",
                    dependency.name
                ));
            }
        }
    }
    none_expected(
        "the host agent and the guest agent know the protocol, never each other",
        "move what both need into protocol/, or test it from tests/",
        &findings,
    );
}

#[test]
fn the_protocol_without_its_tokio_feature_has_no_runtime() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--package", "lkc-protocol"])
        .args([
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(
        tree.starts_with("lkc-protocol "),
        "not a dependency tree: {tree}"
    );
    let runtimes = [
        "tokio",
        "tokio-util",
        "mio",
        "socket2",
        "async-io",
        "futures",
        "futures-util",
        "nix",
        "rustix",
        "hyper",
        "tokio-rustls",
        "tracing",
    ];
    let findings: Vec<_> = tree
        .lines()
        .filter(|line| {
            line.split(' ')
                .next()
                .is_some_and(|name| runtimes.contains(&name))
        })
        .map(str::to_owned)
        .collect();
    none_expected(
        "lkc-protocol without its tokio feature depends on no runtime, clock, socket or file",
        "make the dependency optional and part of the feature `tokio`, used by link, relay and handover only",
        &findings,
    );
}

#[test]
fn the_protocol_does_no_input_or_output_outside_its_link() {
    let forbidden = [
        ".await",
        "async",
        "tokio",
        "std::net",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "Instant::now",
        "SystemTime::now",
        "UNIX_EPOCH",
    ];
    let mut findings = Vec::new();
    for source in sources("protocol/src/").filter(|source| !is_driver(&source.path)) {
        findings.extend(source.lines_where(&source.production, |line| {
            forbidden.iter().any(|word| names(line, word))
        }));
        for module in ["net", "fs", "env", "process", "thread"] {
            findings.extend(imports_of(source, &["std"], module));
        }
    }
    none_expected(
        "outside link, relay and handover the protocol gets bytes and Instants and gives bytes and events",
        "let the caller hand in what the outside knows (a time, bytes, an address from core::net)",
        &findings,
    );
}

#[test]
fn frames_do_not_know_messages_and_messages_do_not_know_frames() {
    let mut findings = Vec::new();
    for source in sources("protocol/src/") {
        let strangers: &[&str] = match top_module(&source.path) {
            Some("frame") => &["message"],
            Some("message" | "codec") => &["frame", "session", "link"],
            _ => &[],
        };
        for stranger in strangers {
            let path = format!("{stranger}::");
            findings.extend(source.lines_where(&source.production, |line| names(line, &path)));
            findings.extend(imports_of(source, &["crate", "super"], stranger));
        }
    }
    none_expected(
        "frame knows streams, not messages; message and codec know bodies, not streams",
        "join the two in the module above both: the link, or an agent",
        &findings,
    );
}

#[test]
fn platform_code_stays_at_the_edge() {
    let edges = [
        "carrier", "machine", "paths", "listen", "network", "observe",
    ];
    let mut findings = Vec::new();
    for package in ["protocol", "host-agent", "guest-agent"] {
        for source in sources(&format!("{package}/src/")) {
            // Descriptors on a unix socket and splice(2) are where systems differ.
            let of_the_protocol = source.path.starts_with("protocol/src/handover/")
                || source.path == "protocol/src/relay.rs";
            let at_the_edge = of_the_protocol
                || package != "protocol"
                    && source
                        .path
                        .split('/')
                        .any(|part| edges.iter().any(|edge| part.starts_with(edge)));
            if !at_the_edge {
                findings.extend(
                    source.lines_where(&source.production, |line| names(line, "target_os")),
                );
            }
        }
    }
    none_expected(
        "cfg(target_os) only in carrier, machine, paths, listen, network, observe, handover and relay",
        "move what differs into one of these modules and give it the same signature everywhere",
        &findings,
    );
}

#[test]
fn only_output_prints() {
    let macros = ["println!", "print!", "eprintln!", "eprint!"];
    let mut findings = Vec::new();
    for package in ["protocol", "host-agent", "guest-agent"] {
        for source in sources(&format!("{package}/src/")) {
            if !source.path.starts_with("host-agent/src/output") {
                findings.extend(source.lines_where(&source.production, |line| {
                    macros.iter().any(|name| names(line, name))
                }));
            }
        }
    }
    none_expected(
        "only host-agent/src/output prints",
        "return what is to be shown as a value and let output show it; a log line is tracing's",
        &findings,
    );
}

/// The modules that drive a session over a real byte stream.
fn is_driver(path: &str) -> bool {
    matches!(top_module(path), Some("link" | "relay" | "handover"))
}

/// `session` for `protocol/src/session.rs` and for `protocol/src/session/stream.rs`.
fn top_module(path: &str) -> Option<&str> {
    let below = path.strip_prefix("protocol/src/")?;
    below
        .split('/')
        .next()
        .map(|part| part.trim_end_matches(".rs"))
}

/// `use` declarations below one of `roots` that name a module, grouped ones included.
fn imports_of(source: &Source, roots: &[&str], module: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (at, _) in source.production.match_indices("use ") {
        let declaration = source.production[at + 4..]
            .split(';')
            .next()
            .unwrap_or_default();
        let below_root = roots
            .iter()
            .any(|root| declaration.starts_with(&format!("{root}::{{")));
        if below_root && names(declaration, module) {
            let line = source.production[..at].lines().count();
            findings.push(format!("{}:{line}: imports {module}", source.path));
        }
    }
    findings
}
