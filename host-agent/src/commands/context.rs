//! What every command needs: where files are, where to print, which cluster is meant.

use std::path::{Path, PathBuf};

use crate::{
    cli::Global,
    config::{self, ClusterName, Config},
    error::{CommandError, Kind},
    output::Output,
    paths::Paths,
};

/// What every command needs.
pub(super) struct Context<'a> {
    pub(super) output: &'a Output,
    pub(super) paths: Paths,
    cwd: PathBuf,
    config_path: Option<PathBuf>,
}

impl<'a> Context<'a> {
    pub(super) fn new(global: &Global, output: &'a Output) -> Result<Self, CommandError> {
        let cwd = std::env::current_dir().map_err(|error| {
            CommandError::new(Kind::HostIo, error)
                .context("the working directory cannot be told")
                .hint("change into a directory that exists")
        })?;
        let paths = Paths::of_this_process()?;
        Ok(Self {
            output,
            paths,
            cwd,
            config_path: global.config.clone(),
        })
    }

    /// The configuration; what surprises in it is said.
    pub(super) fn config(&self) -> Result<Config, CommandError> {
        Ok(config::load(
            self.config_path.as_deref(),
            &self.cwd,
            &self.paths,
        )?)
    }

    /// A path of the command line, made absolute as those of the configuration are.
    pub(super) fn resolve(&self, path: &Path) -> PathBuf {
        config::resolve(path, &self.cwd, self.paths.home())
    }

    /// Clusters that were up at least once and not deleted since.
    pub(super) fn known_clusters(&self) -> Result<Vec<ClusterName>, CommandError> {
        self.paths.known_clusters().map_err(|error| {
            let place = self.paths.clusters_dir();
            CommandError::new(Kind::HostIo, error)
                .context(format!("cannot read {}", place.display()))
        })
    }

    /// The cluster that is meant when `named` is not there: the default of the configuration, else
    /// the only one that exists, else the usual one.
    pub(super) fn cluster(&self, named: Option<&ClusterName>) -> Result<ClusterName, CommandError> {
        if let Some(name) = named {
            return Ok(name.clone());
        }
        let config = self.config()?;
        Ok(meant(
            config.path.is_some(),
            &config.default,
            &self.known_clusters()?,
        ))
    }
}

fn meant(has_file: bool, default: &ClusterName, known: &[ClusterName]) -> ClusterName {
    match known {
        [only] if !has_file => only.clone(),
        _ => default.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_name_the_file_decides_then_what_exists() {
        let name = |text: &str| text.parse::<ClusterName>().unwrap();
        let usual = name("k3s-dev");
        assert_eq!(meant(true, &usual, &[name("other")]), usual);
        assert_eq!(meant(false, &usual, &[name("other")]), name("other"));
        assert_eq!(meant(false, &usual, &[name("a"), name("b")]), usual);
        assert_eq!(meant(false, &usual, &[]), usual);
    }
}
