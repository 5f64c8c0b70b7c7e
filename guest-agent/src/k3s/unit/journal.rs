//! What a unit says, as the journal has it.

use std::collections::VecDeque;
use std::io;

use bytes::BytesMut;
use futures::Stream;
use futures::stream;
use lkc_protocol::message::LogLine;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};

use super::Unit;
use crate::logs::{MAX_TAIL, Splitter};
use crate::readiness::one_line;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 16 * 1024;

/// Bytes of journalctl's complaint that are kept.
const MAX_COMPLAINT_BYTES: u64 = 4096;

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
        let mut arguments = self.journal_arguments(tail.min(MAX_TAIL));
        if follow {
            arguments.push("--follow".to_owned());
        }
        stream::unfold(State::Begin(self, arguments), |state| async {
            let mut reader = match state {
                State::Begin(unit, arguments) => match Reader::start(&unit, &arguments) {
                    Ok(reader) => Box::new(reader),
                    Err(error) => return Some((Err(error), State::End)),
                },
                State::Read(reader) => reader,
                State::End => return None,
            };
            match reader.next().await {
                Ok(Some(text)) => Some((Ok(LogLine { text }), State::Read(reader))),
                Ok(None) => None,
                Err(error) => Some((Err(error), State::End)),
            }
        })
    }
}

enum State {
    Begin(Unit, Vec<String>),
    Read(Box<Reader>),
    End,
}

struct Reader {
    child: Child,
    /// None once it has ended.
    output: Option<ChildStdout>,
    block: BytesMut,
    splitter: Splitter,
    ready: VecDeque<String>,
}

impl Reader {
    fn start(unit: &Unit, arguments: &[String]) -> io::Result<Self> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = unit.command("journalctl", &arguments).spawn()?;
        Ok(Self {
            output: child.stdout.take(),
            child,
            block: BytesMut::with_capacity(BLOCK_BYTES),
            splitter: Splitter::default(),
            ready: VecDeque::new(),
        })
    }

    async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let Some(output) = &mut self.output else {
                return Ok(None);
            };
            self.block.clear();
            self.block.reserve(BLOCK_BYTES);
            if output.read_buf(&mut self.block).await? == 0 {
                self.output = None;
                self.conclude().await?;
                self.ready.extend(self.splitter.end());
            }
            self.splitter.take(&self.block, &mut self.ready);
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
