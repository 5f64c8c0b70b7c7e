//! Answers the shell. Names of clusters come from disk; the daemon is never asked.

use std::{
    ffi::{OsStr, OsString},
    process::ExitCode,
};

use clap::CommandFactory;
use clap_complete::{CompleteEnv, engine::CompletionCandidate};

use super::Cli;
use crate::{config, output, paths::Paths};

/// Environment variable by which a shell asks for candidates.
pub const VARIABLE: &str = "LKC_COMPLETE";

/// Answers a shell that asks for candidates; none when the program was called for something else.
#[must_use]
pub fn answer(args: &[OsString]) -> Option<ExitCode> {
    let cwd = std::env::current_dir().ok();
    let completer = CompleteEnv::with_factory(Cli::command).var(VARIABLE);
    match completer.try_complete(args, cwd.as_deref()) {
        Ok(false) => None,
        Ok(true) => Some(ExitCode::SUCCESS),
        Err(error) => Some(output::usage(&error)),
    }
}

/// Clusters of the state directory and of `lkc.toml` whose names begin with `current`.
#[must_use]
pub fn clusters(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some((current, paths)) = current.to_str().zip(Paths::of_this_process().ok()) else {
        return Vec::new();
    };
    let mut names = paths.known_clusters().unwrap_or_default();
    let explicit = std::env::var_os("LKC_CONFIG").map(std::path::PathBuf::from);
    if let Ok(cwd) = std::env::current_dir()
        && let Ok(config) = config::load(explicit.as_deref(), &cwd, &paths)
    {
        names.extend(config.clusters.into_iter().map(|(spec, _)| spec.name));
    }
    names.sort();
    names.dedup();
    let matching = names
        .iter()
        .filter(|name| name.as_str().starts_with(current));
    matching
        .map(|name| CompletionCandidate::new(name.as_str()))
        .collect()
}
