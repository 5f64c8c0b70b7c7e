//! The user's kubeconfig on disk: read, understood, written again in the form that it had.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{super::node::Node, After, Edit, MergeError, Merged};
use crate::{
    paths::private::{
        self, DIRECTORY_MODE, FILE_MODE, PrivateError, ReadError, read_bounded, write_atomically,
        write_atomically_for,
    },
    sanitize,
};

/// Longest file read, in bytes: a thousand clusters have a tenth of it.
const LONGEST: usize = 4 << 20;
/// Symbolic links followed one after the other, as the kernel limits it.
const MOST_LINKS: usize = 40;

/// A kubeconfig as it was read.
pub(super) struct File {
    /// The file itself, behind symbolic links.
    path: PathBuf,
    found: Option<Found>,
    document: Node,
}

struct Found {
    text: String,
    mode: u32,
    owner: (u32, u32),
}

/// Makes the directory for a kubeconfig as kubectl does, but private.
pub(super) fn make_parent(path: &Path) -> Result<(), PrivateError> {
    let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(parent)
        .map_err(|source| PrivateError::Io {
            action: "create",
            path: parent.to_owned(),
            source,
        })
}

impl File {
    /// Reads `path`, which need not exist.
    pub(super) fn read(path: &Path) -> Result<Self, MergeError> {
        let path = behind_links(path)?;
        let failed = |source| MergeError::Read {
            path: path.clone(),
            source,
        };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self {
                    path,
                    found: None,
                    document: Node::Map(Vec::new()),
                });
            }
            Err(error) => return Err(failed(error.into())),
        };
        let syntax = |message: String| MergeError::Syntax {
            path: path.clone(),
            message,
        };
        if !metadata.is_file() {
            return Err(syntax("it is not a file".to_owned()));
        }
        let bytes = read_bounded(&path, LONGEST).map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| syntax("it is not UTF-8".to_owned()))?;
        let document = parse(&text).map_err(syntax)?;
        let owner = (metadata.uid(), metadata.gid());
        let found = Some(Found {
            text,
            mode: metadata.mode() & 0o7777,
            owner,
        });
        Ok(Self {
            path,
            found,
            document,
        })
    }

    pub(super) fn exists(&self) -> bool {
        self.found.is_some()
    }

    #[cfg(test)]
    pub(super) fn document(&self) -> &Node {
        &self.document
    }

    /// Edits the document and writes it if that changed it.
    pub(super) fn edit(self, edit: impl Edit) -> Result<Merged, MergeError> {
        let mut edited = self.document.clone();
        let after = edit(&mut edited).map_err(|source| MergeError::Edit {
            path: self.path.clone(),
            source,
        })?;
        let mut warnings = self.mode_warning();
        if edited == self.document {
            return Ok(Merged {
                changed: false,
                warnings,
            });
        }
        match after {
            After::Remove => {
                private::remove_file(&self.path)?;
            }
            After::Keep => warnings.extend(self.write(&edited)?),
        }
        Ok(Merged {
            changed: true,
            warnings,
        })
    }

    fn write(&self, document: &Node) -> Result<Option<String>, MergeError> {
        let lossy = || MergeError::Lossy {
            path: self.path.clone(),
        };
        let before = self.found.as_ref().map_or("", |found| found.text.as_str());
        let text = render(document, before).ok_or_else(lossy)?;
        if parse(&text).ok().as_ref() != Some(document) {
            return Err(lossy());
        }
        let Some(found) = &self.found else {
            write_atomically(&self.path, text.as_bytes(), FILE_MODE)?;
            return Ok(None);
        };
        let warning = if has_comments(before) {
            Some(self.back_up(found)?)
        } else {
            None
        };
        write_atomically_for(&self.path, text.as_bytes(), found.mode, found.owner)?;
        Ok(warning)
    }

    /// Keeps the file as it was, once. Returns what to say about it.
    fn back_up(&self, found: &Found) -> Result<String, PrivateError> {
        let mut backup = self.path.clone().into_os_string();
        backup.push(".before-lkc");
        let backup = PathBuf::from(backup);
        if fs::symlink_metadata(&backup).is_err() {
            write_atomically_for(&backup, found.text.as_bytes(), FILE_MODE, found.owner)?;
        }
        let (path, backup) = (self.path.display(), backup.display());
        Ok(format!(
            "the comments in {path} are not kept; {backup} has them"
        ))
    }

    fn mode_warning(&self) -> Vec<String> {
        match &self.found {
            Some(found) if found.mode & 0o077 != 0 => vec![format!(
                "{} can be read by other users (mode {:04o})",
                self.path.display(),
                found.mode
            )],
            _ => Vec::new(),
        }
    }
}

/// Follows symbolic links, the last of which may lead to nothing yet.
fn behind_links(path: &Path) -> Result<PathBuf, MergeError> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => return Ok(path),
        }
    }
    let source = ReadError::Io(io::Error::other("too many symbolic links"));
    Err(MergeError::Read { path, source })
}

/// The document in a text; an empty map when there is none.
fn parse(text: &str) -> Result<Node, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim().is_empty() {
        return Ok(Node::Map(Vec::new()));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(Node::Null) => Ok(Node::Map(Vec::new())),
        Ok(document) => Ok(document),
        Err(error) => Err(sanitize::line(&error.to_string())),
    }
}

/// The document as text in the form that `before` has: JSON or YAML, with its line ends.
fn render(document: &Node, before: &str) -> Option<String> {
    if matches!(document, Node::Map(entries) if entries.is_empty()) {
        return Some(String::new());
    }
    if before.trim_start().starts_with('{') {
        return serde_json::to_string_pretty(document)
            .ok()
            .map(|text| text + "\n");
    }
    let options = serde_saphyr::ser_options! {
        compact_list_indent: true,
        prefer_block_scalars: false,
    };
    let text = serde_saphyr::to_string_with_options(document, options).ok()?;
    Some(if before.contains("\r\n") {
        text.replace('\n', "\r\n")
    } else {
        text
    })
}

fn has_comments(text: &str) -> bool {
    text.lines()
        .any(|line| line.trim_start().starts_with('#') || line.contains(" #"))
}
