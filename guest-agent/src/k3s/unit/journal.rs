//! What a unit says, as the journal has it.

mod cursor;
mod export;

use std::collections::VecDeque;
use std::io;

use bytes::BytesMut;
use futures::stream;
use futures::{Stream, StreamExt as _};
use lkc_protocol::error::{Refusal, RefusalCode};
use lkc_protocol::message::{LogEntry, LogLine};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};

use super::Unit;
use super::tool::ToolError;
use crate::logs::MAX_TAIL;
use crate::observe::describe;
use crate::readiness::one_line;
pub(crate) use cursor::Cursor;
use export::{Decoder, Exported};

/// Bytes read at a time.
const BLOCK_BYTES: usize = 16 * 1024;

/// Bytes of journalctl's complaint that are kept.
const MAX_COMPLAINT_BYTES: u64 = 4096;

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With so many of the last entries.
    Tail(usize),
    /// With what follows an entry; if that is gone, with what is left of what followed it.
    Behind(Cursor),
    /// With the first entry of this boot.
    Boot,
}

impl Unit {
    /// The last lines and, when following, those that come, without end. Dropping the stream ends
    /// the reader.
    ///
    /// # Errors
    /// That journalctl cannot be run or fails ends the stream.
    pub(crate) fn log(
        self,
        tail: usize,
        follow: bool,
    ) -> impl Stream<Item = io::Result<LogLine>> + Send + use<> {
        let line = |text: &str| {
            Ok(LogLine {
                text: text.to_owned(),
            })
        };
        let entries = self.entries(Begin::Tail(tail), follow);
        entries.flat_map(move |entry| {
            let lines: Vec<io::Result<LogLine>> = match entry {
                Ok(entry) => entry.text.split('\n').map(line).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(lines)
        })
    }

    /// The same by entries, each with its place.
    ///
    /// # Errors
    /// As of [`Unit::log`].
    pub(crate) fn entries(
        self,
        begin: Begin,
        follow: bool,
    ) -> impl Stream<Item = io::Result<LogEntry>> + Send + use<> {
        stream::unfold(State::Begin(self, begin, follow), |state| async {
            let mut reader = match state {
                State::Begin(unit, begin, follow) => match Reader::start(&unit, begin, follow) {
                    Ok(reader) => Box::new(reader),
                    Err(error) => return Some((Err(error), State::End)),
                },
                State::Read(reader) => reader,
                State::End => return None,
            };
            match reader.next().await {
                Ok(Some(entry)) => Some((Ok(entry), State::Read(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), State::End)),
            }
        })
    }

    /// Where to go on behind an entry, and whether that is still there. `boot` is the id of this one:
    /// times of another say nothing of what was written since.
    pub(crate) async fn behind(&self, entry: Cursor, boot: &str) -> (Begin, bool) {
        let at = format!("--cursor={entry}");
        match self.find(at).await {
            Ok(Some(found)) if found.is_same_entry(&entry) => (Begin::Behind(entry), true),
            Ok(_) if entry.is_of_boot(boot) => (Begin::Behind(entry), false),
            Ok(_) | Err(_) => (Begin::Boot, false),
        }
    }

    /// The entry that is the last one now.
    ///
    /// # Errors
    /// That journalctl does not say.
    pub(crate) async fn last_entry(&self) -> Result<Option<Cursor>, Refusal> {
        let found = self.find("--reverse".to_owned()).await;
        found.map_err(|error| Refusal::new(RefusalCode::Failed, describe(&error)))
    }

    /// The first entry of a reading that begins or goes as `how` says.
    async fn find(&self, how: String) -> Result<Option<Cursor>, ToolError> {
        let mut arguments = self.arguments("1");
        arguments.push(how);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.run("journalctl", &arguments).await?;
        let mut cursors = output
            .lines()
            .filter_map(|line| line.strip_prefix("__CURSOR="));
        Ok(cursors.next().and_then(|cursor| cursor.parse().ok()))
    }

    fn arguments(&self, lines: &str) -> Vec<String> {
        vec![
            format!("--unit={}", self.name),
            format!("--lines={lines}"),
            "--output=export".to_owned(),
            "--output-fields=MESSAGE".to_owned(),
            "--no-pager".to_owned(),
            "--quiet".to_owned(),
        ]
    }
}

enum State {
    Begin(Unit, Begin, bool),
    Read(Box<Reader>),
    End,
}

struct Reader {
    child: Child,
    /// None once it has ended.
    output: Option<ChildStdout>,
    block: BytesMut,
    decoder: Decoder,
    ready: VecDeque<Exported>,
    /// The entry behind which it begins, until that has come, or another one.
    behind: Option<Cursor>,
}

impl Reader {
    fn start(unit: &Unit, begin: Begin, follow: bool) -> io::Result<Self> {
        let mut arguments = match &begin {
            Begin::Tail(count) => unit.arguments(&count.min(&MAX_TAIL).to_string()),
            Begin::Behind(_) => unit.arguments("all"),
            Begin::Boot => unit.arguments(&MAX_TAIL.to_string()),
        };
        // What follows what is there is shown by a reading that begins with the entry itself: only
        // that tells whether it is there.
        match &begin {
            Begin::Tail(_) => {}
            Begin::Behind(entry) => arguments.push(format!("--cursor={entry}")),
            Begin::Boot => arguments.push("--boot".to_owned()),
        }
        if follow {
            arguments.push("--follow".to_owned());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = unit.command("journalctl", &arguments).spawn()?;
        Ok(Self {
            output: child.stdout.take(),
            child,
            block: BytesMut::with_capacity(BLOCK_BYTES),
            decoder: Decoder::default(),
            ready: VecDeque::new(),
            behind: match begin {
                Begin::Behind(entry) => Some(entry),
                Begin::Tail(_) | Begin::Boot => None,
            },
        })
    }

    async fn next(&mut self) -> io::Result<Option<LogEntry>> {
        loop {
            if let Some(Exported { cursor, text }) = self.ready.pop_front() {
                let begun_behind = self.behind.take();
                let is_that = |behind: Cursor| {
                    let this = cursor.parse::<Cursor>();
                    this.is_ok_and(|this| this.is_same_entry(&behind))
                };
                if begun_behind.is_some_and(is_that) {
                    continue;
                }
                return Ok(Some(LogEntry {
                    place: cursor,
                    text,
                }));
            }
            let Some(output) = &mut self.output else {
                return Ok(None);
            };
            self.block.clear();
            self.block.reserve(BLOCK_BYTES);
            if output.read_buf(&mut self.block).await? == 0 {
                self.output = None;
                self.conclude().await?;
            }
            self.decoder.take(&self.block, &mut self.ready);
        }
    }

    async fn conclude(&mut self) -> io::Result<()> {
        let mut complaint = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            stderr
                .take(MAX_COMPLAINT_BYTES)
                .read_to_end(&mut complaint)
                .await?;
        }
        let status = self.child.wait().await?;
        if status.success() {
            return Ok(());
        }
        let complaint = one_line(&String::from_utf8_lossy(&complaint));
        Err(io::Error::other(format!(
            "journalctl: {status} {complaint}"
        )))
    }
}
