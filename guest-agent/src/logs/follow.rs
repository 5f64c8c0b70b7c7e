//! The lines of a file as they come.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use futures::Stream;
use futures::stream;
use lkc_protocol::message::LogLine;

use super::MAX_TAIL;
use super::split::Splitter;
use super::tail::tail_until;
use crate::observe::FileWatch;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 32 * 1024;

/// The last lines of a file and, when following, those that are added, without end. A file that is
/// not there has no lines; when following it is waited for. Dropping the stream ends everything.
///
/// # Errors
/// An error of the file ends the stream.
pub fn lines(
    path: PathBuf,
    tail: usize,
    follow: bool,
) -> impl Stream<Item = std::io::Result<LogLine>> {
    let state = State {
        begun: false,
        tail,
        follow,
        watch: None,
        follower: Follower::new(path),
    };
    stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.next().await {
            Ok(Some(text)) => Some((Ok(LogLine { text }), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

struct State {
    begun: bool,
    tail: usize,
    follow: bool,
    watch: Option<FileWatch>,
    follower: Follower,
}

impl State {
    async fn next(&mut self) -> std::io::Result<Option<String>> {
        if !self.begun {
            self.begun = true;
            if self.follow {
                // Before the first look, so that nothing falls between look and watch.
                self.watch = Some(FileWatch::new(self.follower.path.clone())?);
            }
            self.follower.begin(self.tail.min(MAX_TAIL), self.follow)?;
        }
        loop {
            if let Some(line) = self.follower.ready.pop_front() {
                return Ok(Some(line));
            }
            let Some(watch) = &mut self.watch else {
                return Ok(None);
            };
            if !self.follower.read_more()? {
                watch.changed().await?;
            }
        }
    }
}

/// A place in a file, and the line that has begun there.
struct Follower {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    splitter: Splitter,
    ready: VecDeque<String>,
}

impl Follower {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            offset: 0,
            splitter: Splitter::default(),
            ready: VecDeque::new(),
        }
    }

    fn begin(&mut self, tail: usize, follow: bool) -> std::io::Result<()> {
        let Some(mut file) = self.open()? else {
            return Ok(());
        };
        let end = file.metadata()?.len();
        let found = tail_until(&mut file, end, tail, !follow)?;
        self.ready = found.lines.into();
        self.offset = found.end;
        self.file = Some(file);
        Ok(())
    }

    /// Reads a block. False when there is nothing more for now.
    fn read_more(&mut self) -> std::io::Result<bool> {
        let Some(file) = &mut self.file else {
            self.file = self.open()?;
            self.offset = 0;
            return Ok(self.file.is_some());
        };
        let mut block = vec![0; BLOCK_BYTES];
        file.seek(SeekFrom::Start(self.offset))?;
        let count = file.read(&mut block)?;
        if count > 0 {
            self.offset += count as u64;
            self.splitter.take(&block[..count], &mut self.ready);
            return Ok(true);
        }
        let own = file.metadata()?;
        if own.len() < self.offset {
            self.offset = 0;
            self.splitter = Splitter::default();
            return Ok(true);
        }
        match std::fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) == (own.dev(), own.ino()) => Ok(false),
            Ok(_) => {
                self.ready.extend(self.splitter.end());
                self.file = None;
                Ok(true)
            }
            // Rotated away; the next file comes in a moment.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open(&self) -> std::io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::pin::pin;
    use std::time::Duration;

    use futures::StreamExt as _;

    use super::*;
    use crate::logs::MAX_LINE_BYTES;

    async fn next(stream: &mut (impl Stream<Item = std::io::Result<LogLine>> + Unpin)) -> String {
        let item = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
        item.expect("a line within 5 s")
            .expect("the stream goes on")
            .expect("no error")
            .text
    }

    fn append(path: &Path, text: &str) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[tokio::test]
    async fn the_past_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let none: Vec<_> = lines(path.clone(), 10, false).collect().await;
        assert!(none.is_empty());
        append(&path, "a\nb\nc");
        let found: Vec<_> = lines(path, 2, false)
            .map(|line| line.unwrap().text)
            .collect()
            .await;
        assert_eq!(found, ["b", "c"]);
    }

    #[tokio::test]
    async fn into_growth_rotation_and_truncation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("later").join("log");
        let mut stream = pin!(lines(path.clone(), 10, true));
        assert!(futures::poll!(stream.next()).is_pending());
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        append(&path, "one\ntw");
        assert_eq!(next(&mut stream).await, "one");
        append(&path, "o\n");
        assert_eq!(next(&mut stream).await, "two");

        append(&path, "unfinished");
        std::fs::rename(&path, directory.path().join("log.1")).unwrap();
        append(&path, "three\n");
        assert_eq!(next(&mut stream).await, "unfinished");
        assert_eq!(next(&mut stream).await, "three");

        std::fs::write(&path, "4\n").unwrap();
        assert_eq!(next(&mut stream).await, "4");
        append(&path, &format!("{}\nafter\n", "x".repeat(100_000)));
        assert_eq!(next(&mut stream).await.len(), MAX_LINE_BYTES);
        assert_eq!(next(&mut stream).await, "after");
    }

    #[tokio::test]
    async fn an_unfinished_line_is_not_torn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append(&path, "a\nb\nhal");
        let mut stream = pin!(lines(path.clone(), 1, true));
        assert_eq!(next(&mut stream).await, "b");
        append(&path, "f\n");
        assert_eq!(next(&mut stream).await, "half");
        let mut from_now = pin!(lines(path.clone(), 0, true));
        assert!(futures::poll!(from_now.next()).is_pending());
        append(&path, "new\n");
        assert_eq!(next(&mut from_now).await, "new");
    }
}
