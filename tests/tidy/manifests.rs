//! Cargo manifests: one place for versions and lints, nothing declared that is not used.

use crate::finding::none_expected;
use crate::lexer::names;
use crate::repository::{read, sources};

/// The workspace's packages, each with the directory that it lies in.
const PACKAGES: &[&str] = &["protocol", "host-agent", "guest-agent", "tests"];

/// Dependencies that no source file names, each with what it is there for.
const USED_WITHOUT_A_NAME: &[(&str, &str, &str)] = &[];

/// The dependencies of one package.
pub(crate) struct Manifest {
    directory: String,
    /// In the order of the file, every kind and target.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a dependency table.
pub(crate) struct Dependency {
    /// As declared.
    pub(crate) name: String,
    from_workspace: bool,
}

impl Manifest {
    pub(crate) fn of(directory: &str) -> Self {
        let text = read(&format!("{directory}/Cargo.toml"));
        // A package that names itself switches on a feature of its own for its tests.
        let dependencies = table_lines(&text, |table| table.ends_with("dependencies"))
            .filter(|(_, value)| !value.contains("path = \".\""))
            .map(|(key, value)| Dependency {
                from_workspace: key.ends_with(".workspace") && value == "true"
                    || value.contains("workspace = true"),
                name: key.trim_end_matches(".workspace").to_owned(),
            })
            .collect();
        Self {
            directory: directory.to_owned(),
            dependencies,
        }
    }
}

#[test]
fn every_version_stands_in_the_workspace() {
    let mut findings = Vec::new();
    for package in PACKAGES {
        for dependency in Manifest::of(package).dependencies {
            if !dependency.from_workspace {
                findings.push(format!("{package}/Cargo.toml: {}", dependency.name));
            }
        }
    }
    none_expected(
        "a dependency's version and source stand once, in the workspace's Cargo.toml",
        "declare it under [workspace.dependencies] and take it with `NAME.workspace = true`",
        &findings,
    );
}

#[test]
fn every_workspace_dependency_has_a_taker() {
    let workspace = read("Cargo.toml");
    let taken: Vec<_> = PACKAGES
        .iter()
        .flat_map(|package| Manifest::of(package).dependencies)
        .map(|dependency| dependency.name)
        .collect();
    let findings: Vec<_> = table_lines(&workspace, |table| table == "workspace.dependencies")
        .filter(|(name, _)| !taken.iter().any(|other| other == name))
        .map(|(name, _)| format!("Cargo.toml: {name}"))
        .collect();
    none_expected(
        "a version in the workspace's Cargo.toml is taken by a package",
        "delete the line, and add it again with its first use",
        &findings,
    );
}

#[test]
fn every_dependency_is_used() {
    let mut findings = Vec::new();
    for package in PACKAGES {
        let manifest = Manifest::of(package);
        let files: Vec<_> = sources(&format!("{package}/")).collect();
        for dependency in &manifest.dependencies {
            let excused = USED_WITHOUT_A_NAME.iter().any(|(directory, name, _)| {
                (directory, name) == (package, &dependency.name.as_str())
            });
            let library = library_name(&dependency.name);
            let used = files
                .iter()
                .any(|file| file.code.lines().any(|line| names(line, &library)));
            if used == excused {
                let what = if used {
                    "is used, but listed as"
                } else {
                    "is not"
                };
                findings.push(format!(
                    "{}/Cargo.toml: {} {what} named by any source file",
                    manifest.directory, dependency.name
                ));
            }
        }
    }
    none_expected(
        "a package declares what it uses and nothing else",
        "delete the dependency (or list it in manifests.rs with what it is there for)",
        &findings,
    );
}

#[test]
fn every_package_takes_the_shared_lints_and_metadata() {
    let shared = ["version", "edition", "rust-version", "license", "publish"];
    let mut findings = Vec::new();
    for package in PACKAGES {
        let text = read(&format!("{package}/Cargo.toml"));
        if !table_lines(&text, |table| table == "lints").any(|line| line == ("workspace", "true")) {
            findings.push(format!("{package}/Cargo.toml: [lints] workspace = true"));
        }
        for key in shared {
            let wanted = format!("{key}.workspace");
            let mut lines = table_lines(&text, |table| table == "package");
            if !lines.any(|(name, value)| name == wanted && value == "true") {
                findings.push(format!("{package}/Cargo.toml: {wanted} = true"));
            }
        }
    }
    none_expected(
        "lints and metadata are the workspace's in every package",
        "add the line that is named",
        &findings,
    );
}

/// `key = value` lines of the tables whose name `wanted` accepts. Our manifests have one entry a line.
fn table_lines(text: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (&str, &str)> {
    let mut inside = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(table) = line.strip_prefix('[') {
            inside = wanted(table.trim_end_matches(']'));
            return None;
        }
        let (key, value) = line.split_once('=')?;
        (inside && !line.starts_with('#')).then(|| (key.trim(), value.trim()))
    })
}

/// What source files call it.
fn library_name(dependency: &str) -> String {
    match dependency {
        "host-agent" => "lkc_host".to_owned(),
        "guest-agent" => "lkc_guest".to_owned(),
        other => other.replace('-', "_"),
    }
}
