mod flags;
mod loading;
mod reach;
mod reports;
mod reverse;
mod specs;

use std::path::Path;

use super::{Basis, Config, ConfigError, Look, parse};

/// Decides a file with this text that lies in `/p`.
fn config(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("/p/lkc.toml"), Path::new("/home/u"))
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
