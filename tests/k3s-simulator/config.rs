//! k3s' configuration files: `config.yaml`, then `config.yaml.d/*.yaml` in alphabetical order.
//!
//! The last file that has a key wins; `key+` appends to what the files before it said.
//! The keys are the flags' names. The command line wins over every file, a list as a whole.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::flags::{self, Kind, Values};

pub(crate) const DEFAULT_PATH: &str = "/etc/rancher/k3s/config.yaml";

/// A configuration is a page of text; anything larger is a mistake.
const FILE_BYTES_LIMIT: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {FILE_BYTES_LIMIT} bytes")]
    TooLarge { path: PathBuf },
    #[error("{path} is not valid YAML: {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("{path} must be a mapping of flag names to values")]
    NotAMapping { path: PathBuf },
    #[error("{path}: flag provided but not defined: -{key}")]
    UnknownKey { path: PathBuf, key: String },
    #[error("{path}: the value of {key} must be {expected}")]
    WrongType {
        path: PathBuf,
        key: String,
        expected: &'static str,
    },
}

/// Reads `path` and the drop-in directory beside it.
///
/// # Errors
/// A file that cannot be read or understood. A main file that is absent is fine unless `required`.
pub(crate) fn read(path: &Path, required: bool) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    match read_text(path) {
        Ok(text) => merge(&mut values, path, &text)?,
        Err(ConfigError::Read { source, .. })
            if !required && source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for file in drop_ins(path)? {
        let text = read_text(&file)?;
        merge(&mut values, &file, &text)?;
    }
    Ok(values)
}

fn drop_ins(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut directory = path.as_os_str().to_owned();
    directory.push(".d");
    let directory = PathBuf::from(directory);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ConfigError::Read {
                path: directory,
                source,
            });
        }
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry
            .map_err(|source| ConfigError::Read {
                path: directory.clone(),
                source,
            })?
            .path();
        if file
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read_error = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(read_error)?.len();
    if length > FILE_BYTES_LIMIT {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    std::fs::read_to_string(path).map_err(read_error)
}

/// Lays one file's text over what the files before it said.
fn merge(values: &mut Values, path: &Path, text: &str) -> Result<(), ConfigError> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(());
    }
    let document: Value = serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let Value::Object(mapping) = document else {
        return Err(ConfigError::NotAMapping {
            path: path.to_owned(),
        });
    };
    for (written, value) in &mapping {
        let (key, append) = match written.strip_suffix('+') {
            Some(key) => (key, true),
            None => (written.as_str(), false),
        };
        let flag = flags::find(key).ok_or_else(|| ConfigError::UnknownKey {
            path: path.to_owned(),
            key: key.to_owned(),
        })?;
        let wrong = |expected| ConfigError::WrongType {
            path: path.to_owned(),
            key: key.to_owned(),
            expected,
        };
        let given = scalars(value)
            .ok_or_else(|| wrong("text, a number, true or false, or a list of these"))?;
        match flag.kind {
            Kind::List => {
                let list = values.entry(flag.name).or_default();
                if !append {
                    list.clear();
                }
                list.extend(given);
            }
            Kind::Text => {
                let last = given
                    .into_iter()
                    .next_back()
                    .ok_or_else(|| wrong("one value"))?;
                values.insert(flag.name, vec![last]);
            }
            Kind::Switch => {
                let last = given
                    .into_iter()
                    .next_back()
                    .ok_or_else(|| wrong("true or false"))?;
                let last = flags::boolean(flag.name, &last).map_err(|_| wrong("true or false"))?;
                values.insert(flag.name, vec![last]);
            }
        }
    }
    Ok(())
}

fn scalars(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        Value::Null => Some(Vec::new()),
        other => Some(vec![scalar(other)?]),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_files_win_and_plus_appends() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("config.yaml");
        let drop_ins = directory.path().join("config.yaml.d");
        std::fs::create_dir(&drop_ins).unwrap();
        std::fs::write(
            &main,
            "node-name: a\ntls-san: [one]\ndisable: traefik\nhttps-listen-port: 7000\n",
        )
        .unwrap();
        std::fs::write(
            drop_ins.join("20-b.yaml"),
            "tls-san+:\n  - three\ncluster-init: true\n",
        )
        .unwrap();
        std::fs::write(
            drop_ins.join("10-a.yaml"),
            "# only this\ntls-san+: two\nnode-name: b\ndisable: [servicelb]\n",
        )
        .unwrap();
        std::fs::write(drop_ins.join("ignored.txt"), "nonsense: true").unwrap();
        let values = read(&main, true).unwrap();
        assert_eq!(values["tls-san"], ["one", "two", "three"]);
        assert_eq!(values["node-name"], ["b"]);
        assert_eq!(values["disable"], ["servicelb"]);
        assert_eq!(values["https-listen-port"], ["7000"]);
        assert_eq!(values["cluster-init"], ["true"]);
    }

    #[test]
    fn an_absent_file_matters_only_when_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none.yaml");
        assert!(read(&path, false).unwrap().is_empty());
        assert!(matches!(read(&path, true), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn mistakes_name_the_file_and_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        for (text, expected) in [
            ("nod-ip: 1", "flag provided but not defined: -nod-ip"),
            ("- a", "must be a mapping"),
            ("node-name: {a: b}", "the value of node-name must be"),
            (
                "cluster-init: perhaps",
                "the value of cluster-init must be true or false",
            ),
            ("a: [", "is not valid YAML"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = read(&path, true).unwrap_err().to_string();
            assert!(
                message.contains(expected) && message.contains("config.yaml"),
                "{message}"
            );
        }
    }
}
