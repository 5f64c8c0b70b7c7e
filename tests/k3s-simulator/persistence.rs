//! The cluster's objects across restarts, in `DATA_DIR/server/db/simulator.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files;
use crate::log;
use crate::store::{HISTORY_LIMIT, Store};

/// Where a fresh cluster begins to count; a real one is never at zero when one first sees it.
const FIRST_VERSION: u64 = 100;

/// What the last run saved, or an empty store.
pub(crate) fn load(data_dir: &Path) -> Store {
    let path = path(data_dir);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                log::warning(&format!(
                    "cannot read {}: {error}; starting with an empty cluster",
                    path.display()
                ));
            }
            return Store::new(FIRST_VERSION, HISTORY_LIMIT);
        }
    };
    let restored = serde_json::from_slice(&text)
        .ok()
        .and_then(|dump| Store::restore(dump, HISTORY_LIMIT));
    restored.unwrap_or_else(|| {
        log::warning(&format!(
            "{} is not a saved cluster; starting with an empty one",
            path.display()
        ));
        Store::new(FIRST_VERSION, HISTORY_LIMIT)
    })
}

pub(crate) fn save(data_dir: &Path, dump: &Value) -> io::Result<()> {
    files::write_atomically(&path(data_dir), dump.to_string().as_bytes(), 0o600)
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("server/db/simulator.json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Key;

    #[test]
    fn a_saved_cluster_comes_back_and_rubbish_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = load(directory.path());
        assert_eq!(store.version(), FIRST_VERSION);
        let key = Key::new("configmaps", "default", "x");
        store.put(key.clone(), json!({"metadata": {"name": "x"}}));
        save(directory.path(), &store.dump()).unwrap();
        let again = load(directory.path());
        assert!(again.object(&key).is_some());
        assert_eq!(again.version(), FIRST_VERSION + 1);
        std::fs::write(path(directory.path()), "{").unwrap();
        assert!(load(directory.path()).object(&key).is_none());
    }
}
