//! `lkc.toml`: where it is found, what it may say, and the cluster specifications it leads to.
//!
//! [`load`] finds and reads the file, [`Config::with_overrides`] puts the command line over it.
//! Both end in the same rules, so that a specification, however it was said, is sound: every value
//! is in range, and no two clusters of a configuration claim the same port or address.
//! [`check_against`] is for clusters that come from different files.

pub mod cluster;
mod collision;
mod decide;
mod draft;
pub mod duration;
mod find;
mod overrides;
mod place;
mod problem;
mod reader;
mod request;
mod reverse;
pub mod size;
mod suggest;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use self::{
    cluster::{
        ClusterName, ClusterSpec, Driver, Encrypt, ForwardProtocol, ForwardSpec, K3sSpec,
        MacAddress, Reach, VmImage, VmSpec,
    },
    collision::{Claim, Collision, check_against},
    decide::LARGEST_INDEX,
    draft::resolve,
    overrides::Overrides,
    problem::{ConfigError, Look},
    reverse::{HostTarget, ReverseSpec},
};
use self::{
    decide::{Decided, decide},
    draft::{Base, Draft, DraftFile},
    place::{Place, Placed},
    problem::{Problem, SourceText},
    suggest::nearest,
};
use crate::{control::goal::Goal, error::Kind, paths::Paths};

/// What the file is called.
pub const FILE_NAME: &str = "lkc.toml";

/// A commented file that says everything that can be said.
pub const EXAMPLE: &str = include_str!("config/example.toml");

/// Clusters, fully decided.
#[derive(Debug, Clone)]
pub struct Config {
    /// Each cluster with what `up` does by default, in the order of the file.
    pub clusters: Vec<(ClusterSpec, UpDefaults)>,
    /// The cluster that commands mean when none is named.
    pub default: ClusterName,
    /// The file, when there is one.
    pub path: Option<PathBuf>,
    /// What is allowed but may surprise.
    pub warnings: Vec<Warning>,
    basis: Basis,
}

/// What `up` does unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpDefaults {
    /// What it waits for.
    pub goal: Goal,
    /// For how long at most.
    pub timeout: Duration,
}

/// Something in the configuration that is allowed but may surprise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The cluster it is about.
    pub cluster: ClusterName,
    /// What and why, one line.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cluster {}: {}", self.cluster, self.text)
    }
}

/// Reads the configuration: the file `explicit`, else the nearest [`FILE_NAME`] from `cwd`
/// upwards, else the user's own, else the system's. Without any there is the cluster [`ClusterName::DEFAULT`].
pub fn load(explicit: Option<&Path>, cwd: &Path, paths: &Paths) -> Result<Config, ConfigError> {
    let source = find::read(explicit, cwd, paths).map_err(|problem| problem.in_source(None))?;
    Basis::new(source, cwd, paths.home())?.decide()
}

/// Reads `text` as what [`load`] would find at `path`, which is not touched.
pub fn parse(text: &str, path: &Path, home: &Path) -> Result<Config, ConfigError> {
    let source = SourceText {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let directory = path.parent().unwrap_or(path);
    Basis::new(Some(source), directory, home)?.decide()
}

impl Config {
    /// The named cluster, else the default one.
    pub fn cluster(
        &self,
        name: Option<&ClusterName>,
    ) -> Result<&(ClusterSpec, UpDefaults), ConfigError> {
        let name = name.unwrap_or(&self.default);
        let found = self.clusters.iter().find(|(spec, _)| spec.name == *name);
        found.ok_or_else(|| self.basis.no_such_cluster(name).in_source(None))
    }

    /// Puts `overrides` over what is said of the named cluster, else of the default one. Without a
    /// file, a cluster of any name can be had this way.
    pub fn with_overrides(
        &self,
        name: Option<&ClusterName>,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let name = name.unwrap_or(&self.default);
        let mut basis = self.basis.clone();
        if basis.source.is_none() {
            basis.file.default = None;
            basis.file.clusters = vec![Draft::named(Placed::new(name.clone(), Place::Default))];
        }
        let base = Base {
            directory: &basis.cwd,
            home: &basis.home,
        };
        let draft = basis
            .file
            .clusters
            .iter_mut()
            .find(|draft| draft.name.value == *name);
        match draft {
            None => Err(self.basis.no_such_cluster(name)),
            Some(draft) => overrides.apply(draft, &base),
        }
        .map_err(|problem| problem.in_source(basis.source.as_ref()))?;
        basis.decide()
    }
}

/// What was said, kept so that more can be said over it.
#[derive(Debug, Clone)]
struct Basis {
    file: DraftFile,
    source: Option<Arc<SourceText>>,
    cwd: PathBuf,
    home: PathBuf,
}

impl Basis {
    fn new(source: Option<SourceText>, cwd: &Path, home: &Path) -> Result<Self, ConfigError> {
        let source = source.map(Arc::new);
        let mut file = DraftFile::default();
        if let Some(source) = &source {
            let directory = source.path.parent().unwrap_or(cwd);
            file = DraftFile::parse(&source.text, &Base { directory, home })
                .map_err(|problem| problem.in_source(Some(source)))?;
        }
        if file.clusters.is_empty() {
            let name = ClusterName::default();
            file.clusters
                .push(Draft::named(Placed::new(name, Place::Default)));
        }
        Ok(Self {
            file,
            source,
            cwd: cwd.to_owned(),
            home: home.to_owned(),
        })
    }

    fn decide(self) -> Result<Config, ConfigError> {
        match self.decide_all() {
            Err(problem) => Err(problem.in_source(self.source.as_ref())),
            Ok((decided, default)) => {
                let mut warnings = Vec::new();
                let mut clusters = Vec::new();
                for cluster in decided {
                    clusters.push((cluster.spec, cluster.up));
                    warnings.extend(cluster.warnings);
                }
                let path = self.source.as_ref().map(|source| source.path.clone());
                Ok(Config {
                    clusters,
                    default,
                    path,
                    warnings,
                    basis: self,
                })
            }
        }
    }

    fn decide_all(&self) -> Result<(Vec<Decided>, ClusterName), Problem> {
        let default = self.default_cluster()?;
        let mut decided: Vec<Decided> = Vec::new();
        for draft in &self.file.clusters {
            let cluster = decide(draft)?;
            refuse_collision(&cluster, &decided)?;
            decided.push(cluster);
        }
        Ok((decided, default))
    }

    /// The one that the file names, else the one with the usual name, else the first.
    fn default_cluster(&self) -> Result<ClusterName, Problem> {
        let names = || self.file.clusters.iter().map(|draft| &draft.name.value);
        if let Some(said) = &self.file.default {
            let named = names().find(|name| name.as_str() == said.value).cloned();
            return named.ok_or_else(|| {
                let message = format!("`default` names `{}`, which is no cluster here", said.value);
                self.with_known_clusters(Problem::at(&said.place, message), &said.value)
            });
        }
        let usual = ClusterName::default();
        let mut first = names();
        let first = if names().any(|name| *name == usual) {
            None
        } else {
            first.next().cloned()
        };
        Ok(first.unwrap_or(usual))
    }

    fn no_such_cluster(&self, name: &ClusterName) -> Problem {
        let message = match &self.source {
            Some(source) => format!("{} has no cluster {name}", source.path.display()),
            None => format!("there is no cluster {name}"),
        };
        self.with_known_clusters(Problem::new(Kind::NotFound, message), name.as_str())
    }

    fn with_known_clusters(&self, problem: Problem, meant: &str) -> Problem {
        let names: Vec<_> = self
            .file
            .clusters
            .iter()
            .map(|draft| draft.name.value.as_str())
            .collect();
        match nearest(meant, names.iter().copied()) {
            Some(near) => problem.help(format!("did you mean `{near}`?")),
            None => problem.help(format!("there is {}", names.join(", "))),
        }
    }
}

fn refuse_collision(cluster: &Decided, earlier: &[Decided]) -> Result<(), Problem> {
    let others: Vec<ClusterSpec> = earlier.iter().map(|other| other.spec.clone()).collect();
    let Err(collision) = check_against(&cluster.spec, &others) else {
        return Ok(());
    };
    let ours = cluster.place_of(&collision.claim, true);
    let help = match ours {
        Place::Flag(_) => collision.hint(),
        Place::File(_) | Place::Default => collision.line_to_write(),
    };
    let other = earlier
        .iter()
        .find(|other| other.spec.name == collision.theirs);
    let theirs = other.map_or(Place::Default, |other| {
        other.place_of(&collision.claim, false)
    });
    let names = (collision.ours.as_str(), collision.theirs.as_str());
    let problem = Problem::at_two(collision.to_string(), (&ours, names.0), (&theirs, names.1));
    Err(problem.help(help))
}

impl Decided {
    /// Where a colliding claim was said.
    fn place_of(&self, claim: &Claim, ours: bool) -> Place {
        let forward = match claim {
            Claim::Index(_) => return self.places.index.clone(),
            Claim::Address(_) => return self.places.address.clone(),
            Claim::Mac(_) => return self.places.mac.clone(),
            Claim::Listener { ours: name, .. } if ours => name,
            Claim::Listener { theirs: name, .. } => name,
        };
        let position = self
            .spec
            .forwards
            .iter()
            .position(|other| other.name == *forward);
        position
            .and_then(|at| self.places.forwards.get(at))
            .unwrap_or(&self.places.index)
            .clone()
    }
}
