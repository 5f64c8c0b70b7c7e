mod flags;
mod loading;
mod reports;
mod reverse;
mod specs;

use std::path::{Path, PathBuf};

use super::{Basis, Config, ConfigError, Look, problem::SourceText};

/// Decides a file with this text that lies in `/p`.
fn config(text: &str) -> Result<Config, ConfigError> {
    let source = SourceText {
        path: PathBuf::from("/p/lkc.toml"),
        text: text.to_owned(),
    };
    Basis::new(Some(source), Path::new("/p/below"), Path::new("/home/u"))?.decide()
}

/// Decides without a file.
fn no_config() -> Config {
    Basis::new(None, Path::new("/p"), Path::new("/home/u"))
        .unwrap()
        .decide()
        .unwrap()
}

/// The report of the error in this text.
fn report(text: &str) -> String {
    config(text).expect_err(text).report(Look::default())
}
