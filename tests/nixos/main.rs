//! What the Nix modules make: their own checks, their units beside the packaged ones, and what they
//! write as the programs read it.
//!
//! nix evaluates here without nixpkgs: `stand-in.nix` is what the modules see in its place.

#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod commands;
mod units;
mod written;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lkc_tests::{find_program, skipped};
use serde_json::Value;

/// Top of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What nix makes of `tests/nixos/FILE`, whose own checks hold; none where there is no nix.
fn evaluated(file: &str) -> Option<Value> {
    let Some(program) = find_program("nix-instantiate") else {
        skipped("nix-instantiate is not on PATH");
        return None;
    };
    // As root without a daemon and without a build user: nothing is built here.
    let state = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(["--eval", "--strict", "--json", "--show-trace"])
        .arg(root().join("tests/nixos").join(file))
        .env("NIX_STATE_DIR", state.path())
        .env("NIX_REMOTE", "")
        .env("NIX_CONFIG", "build-users-group =")
        .env_remove("NIX_PATH")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}: {complaint}");
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value["checked"].as_u64().unwrap() > 0, "{file}");
    assert_eq!(value["broken"], Value::Array(Vec::new()), "{file}");
    Some(value)
}
