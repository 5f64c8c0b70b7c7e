//! Which file is read.

use std::{ffi::OsString, fs, os::unix::fs::MetadataExt, path::Path};

use super::super::{Config, ConfigError, load};
use crate::{
    error::{CommandError, Kind},
    paths::Paths,
};

struct Home {
    root: tempfile::TempDir,
    paths: Paths,
}

impl Home {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let uid = fs::metadata(root.path()).unwrap().uid();
        let home = OsString::from(root.path());
        let system = root.path().join("xdg").into_os_string();
        let lookup = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "XDG_CONFIG_DIRS" => Some(system.clone()),
            _ => None,
        };
        let paths = Paths::from_env(&lookup, uid).unwrap();
        fs::create_dir_all(root.path().join("project/deep")).unwrap();
        Self { root, paths }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn load(&self, explicit: Option<&str>) -> Result<Config, ConfigError> {
        load(
            explicit.map(Path::new),
            &self.root.path().join("project/deep"),
            &self.paths,
        )
    }

    fn error(&self, explicit: Option<&str>) -> (Kind, String) {
        let error = self.load(explicit).unwrap_err();
        let root = self.root.path().display().to_string();
        (error.kind(), error.to_string().replace(&root, "~"))
    }
}

#[test]
fn the_nearest_file_holds() {
    let home = Home::new();
    let default = |explicit: Option<&str>| home.load(explicit).unwrap().default.to_string();
    assert_eq!(default(None), "k3s-dev");
    home.write("xdg/lkc/lkc.toml", "[cluster.systems]");
    assert_eq!(default(None), "systems");
    home.write(".config/lkc/lkc.toml", "[cluster.own]");
    assert_eq!(default(None), "own");
    home.write("project/lkc.toml", "[cluster.above]");
    assert_eq!(default(None), "above");
    home.write("project/deep/lkc.toml", "[cluster.here]");
    assert_eq!(default(None), "here");
    home.write("project/other.toml", "[cluster.explicit]");
    assert_eq!(default(Some("../other.toml")), "explicit");
    assert_eq!(
        home.load(None).unwrap().path.unwrap(),
        home.root.path().join("project/deep/lkc.toml")
    );
}

#[test]
fn no_file_and_an_empty_file_mean_the_default_cluster() {
    let home = Home::new();
    assert_eq!(home.load(None).unwrap().path, None);
    for text in ["", "# nothing\r\n", "\u{feff}default = \"k3s-dev\"\r\n"] {
        home.write("project/lkc.toml", text);
        let config = home.load(None).unwrap();
        assert_eq!(config.clusters.len(), 1);
        assert_eq!(config.clusters[0].0.name.as_str(), "k3s-dev");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let home = Home::new();
    let missing = "cannot read ~/project/deep/none.toml: No such file or directory (os error 2)";
    assert_eq!(
        home.error(Some("none.toml")),
        (Kind::BadInput, missing.to_owned())
    );
    home.write("project/lkc.toml", vec![b'#'; (1 << 20) + 1]);
    let long = "~/project/lkc.toml is longer than 1048576 bytes";
    assert_eq!(home.error(None), (Kind::BadInput, long.to_owned()));
    home.write("project/lkc.toml", b"a = 1\n\xff");
    assert_eq!(
        home.error(None),
        (
            Kind::BadInput,
            "~/project/lkc.toml is not UTF-8 in line 2".to_owned()
        )
    );
    fs::create_dir(home.root.path().join("project/deep/lkc.toml")).unwrap();
    let directory = "cannot read ~/project/deep/lkc.toml: Is a directory (os error 21)";
    assert_eq!(home.error(None), (Kind::BadInput, directory.to_owned()));
}

#[test]
fn a_file_that_somebody_else_left_above_is_not_taken_up() {
    let mut home = Home::new();
    home.write("project/lkc.toml", "");
    let owner = home.paths.uid();
    if owner == 0 {
        nix::unistd::chown(
            &home.root.path().join("project/lkc.toml"),
            Some(65534.into()),
            None,
        )
        .unwrap();
    } else {
        let root = home.root.path().as_os_str().to_owned();
        let lookup = |name: &str| (name == "HOME").then(|| root.clone());
        home.paths = Paths::from_env(&lookup, owner + 1).unwrap();
    }
    let (kind, message) = home.error(None);
    assert_eq!(kind, Kind::BadInput);
    assert!(
        message.starts_with("~/project/lkc.toml belongs to user "),
        "{message}"
    );
    assert!(home.load(Some("../lkc.toml")).is_ok());
}

#[test]
fn an_error_becomes_one_of_the_command() {
    let home = Home::new();
    home.write("project/lkc.toml", "[cluster.a]\n\tindx = 1\n");
    let error = CommandError::from(home.load(None).unwrap_err());
    assert_eq!(error.kind.exit_code(), 10);
    let place = format!("{}/project/lkc.toml:2:2: ", home.root.path().display());
    assert_eq!(
        error.to_string(),
        place + "unknown key `indx` in [cluster.a]"
    );
    assert_eq!(error.hints, ["did you mean `index`?"]);
    assert!(
        error.tail.iter().any(|line| line.contains("indx = 1")),
        "{:?}",
        error.tail
    );
}
