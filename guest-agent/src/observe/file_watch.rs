//! Hears of changes to a file that need not exist, in a directory that need not exist.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

/// Watches the directory of a file, or the nearest of its ancestors that exists: as directories
/// appear the watch moves down to them. Nothing is polled.
pub struct FileWatch {
    directory: PathBuf,
    watcher: RecommendedWatcher,
    watched: Option<Watched>,
    woken: Arc<Notify>,
}

/// A directory by path and inode: one that was made anew is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileWatch {
    /// Begins to watch. What happens to the file from now on is heard of.
    ///
    /// # Errors
    /// When the system gives no watch.
    pub fn new(path: impl Into<PathBuf>) -> std::io::Result<Self> {
        let path: PathBuf = path.into();
        let directory = path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let woken = Arc::new(Notify::new());
        let waker = Arc::clone(&woken);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error, as an overflow, may hide a change; looking again is always right.
            if event.map_or(true, |event| is_change(event.kind)) {
                waker.notify_one();
            }
        })
        .map_err(io_error)?;
        let mut watch = Self {
            directory,
            watcher,
            watched: None,
            woken,
        };
        watch.settle()?;
        Ok(watch)
    }

    /// Waits until the file may have changed since the last call, or since the watch was made.
    /// There can be false alarms, never a missed change. Cancel safe.
    ///
    /// # Errors
    /// When the watch cannot be moved.
    pub async fn changed(&mut self) -> std::io::Result<()> {
        self.woken.notified().await;
        self.settle()
    }

    /// Moves the watch to the nearest directory that exists.
    fn settle(&mut self) -> std::io::Result<()> {
        loop {
            let nearest = nearest_existing(&self.directory);
            if nearest == self.watched {
                return Ok(());
            }
            if let Some(old) = self.watched.take() {
                // Gone with its directory, perhaps.
                let _ = self.watcher.unwatch(&old.path);
            }
            let Some(nearest) = nearest else {
                return Err(std::io::ErrorKind::NotFound.into());
            };
            match self
                .watcher
                .watch(&nearest.path, RecursiveMode::NonRecursive)
            {
                // The loop looks again: a directory below may have come before the watch stood.
                Ok(()) => {
                    self.watched = Some(nearest);
                    self.woken.notify_one();
                }
                Err(error) if nearest_existing(&self.directory).as_ref() == Some(&nearest) => {
                    return Err(io_error(error));
                }
                // It went away meanwhile.
                Err(_) => {}
            }
        }
    }
}

fn nearest_existing(directory: &Path) -> Option<Watched> {
    directory.ancestors().find_map(|path| {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let metadata = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_dir)?;
        Some(Watched {
            path: path.to_path_buf(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    })
}

/// Opening and reading is no change; our own reading would wake us without end.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

fn io_error(error: notify::Error) -> std::io::Error {
    match error.kind {
        notify::ErrorKind::Io(error) => error,
        _ => std::io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Waits until a condition of the file holds, and tells how long that took.
    async fn heard(watch: &mut FileWatch, holds: impl Fn() -> bool) -> Duration {
        let begun = Instant::now();
        tokio::time::timeout(Duration::from_secs(5), async {
            while !holds() {
                watch.changed().await.unwrap();
            }
        })
        .await
        .expect("the change is heard of");
        begun.elapsed()
    }

    #[tokio::test]
    async fn a_file_whose_directories_come_later() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c/k3s.yaml");
        let mut watch = FileWatch::new(&path).unwrap();
        let writer = tokio::task::spawn_blocking({
            let path = path.clone();
            move || {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path.with_extension("new"), "1").unwrap();
                std::fs::rename(path.with_extension("new"), &path).unwrap();
            }
        });
        heard(&mut watch, || path.exists()).await;
        writer.await.unwrap();

        std::fs::remove_dir_all(root.path().join("a")).unwrap();
        heard(&mut watch, || !path.exists()).await;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "2").unwrap();
        heard(&mut watch, || {
            std::fs::read_to_string(&path).is_ok_and(|text| text == "2")
        })
        .await;
    }

    #[tokio::test]
    async fn reading_wakes_nobody() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("k3s.yaml");
        std::fs::write(&path, "1").unwrap();
        let mut watch = FileWatch::new(&path).unwrap();
        // The alarm of the beginning.
        watch.changed().await.unwrap();
        std::fs::read(&path).unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(100), watch.changed()).await;
        assert!(quiet.is_err());
    }
}
