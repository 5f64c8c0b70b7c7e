//! Candidates for the shell: names of clusters from disk. Never asks the daemon.

use std::ffi::OsStr;

use clap_complete::engine::CompletionCandidate;

use crate::paths::Paths;

/// Clusters whose names begin with `current`.
#[must_use]
pub fn clusters(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let known = Paths::of_this_process()
        .ok()
        .and_then(|paths| paths.known_clusters().ok());
    let names = known.unwrap_or_default();
    let matching = names
        .iter()
        .filter(|name| name.as_str().starts_with(current));
    matching
        .map(|name| CompletionCandidate::new(name.as_str()))
        .collect()
}
