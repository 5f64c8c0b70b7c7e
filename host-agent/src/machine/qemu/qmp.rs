//! QEMU's monitor over its unix socket: the few commands that are needed, each with a deadline and
//! an answer of bounded length.
//!
//! QEMU serves one client at a time. So nobody keeps a connection: it is made for an order and
//! closed after it.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Longest line of QEMU's that is read, in bytes. Lists of block devices have some kilobytes.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// Events that nobody waited for yet, at most; older ones are dropped.
const MAX_EVENTS: usize = 256;

/// How long an answer may take. QEMU under emulation on a busy machine takes some 10 ms.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("its monitor cannot be reached")]
    Io(#[from] io::Error),
    #[error("its monitor is closed")]
    Closed,
    #[error("`{0}` got no answer in time; another command may hold its monitor")]
    Silent(&'static str),
    #[error("`{command}` was refused: {description}")]
    Refused {
        command: &'static str,
        description: String,
    },
    #[error("its monitor said what cannot be understood")]
    Nonsense(#[from] serde_json::Error),
}

/// A connection to a monitor.
#[derive(Debug)]
pub(super) struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    events: Vec<Event>,
}

/// Something that happened without being asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "event")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) data: Value,
}

/// A line of QEMU's.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Event(Event),
    Error {
        error: Refusal,
    },
    Return {
        r#return: Value,
    },
    Greeting {
        #[serde(rename = "QMP")]
        _qmp: Value,
    },
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    desc: String,
}

impl Qmp {
    /// Connects and waits until QEMU is ready to be asked.
    ///
    /// # Errors
    /// Nobody listens, or nobody answers before the deadline.
    pub(super) async fn connect(socket: &Path) -> Result<Self, QmpError> {
        Self::connect_within(socket, ANSWER_DEADLINE).await
    }

    /// As [`connect`](Self::connect), with a deadline of one's own.
    pub(super) async fn connect_within(
        socket: &Path,
        deadline: Duration,
    ) -> Result<Self, QmpError> {
        timeout(deadline, Self::greet(socket))
            .await
            .map_err(|_| QmpError::Silent("qmp_capabilities"))?
    }

    async fn greet(socket: &Path) -> Result<Self, QmpError> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let mut monitor = Self {
            reader: BufReader::new(reader),
            writer,
            events: Vec::new(),
        };
        while !matches!(monitor.line().await?, Line::Greeting { .. }) {}
        monitor.ask("qmp_capabilities", &json!({})).await?;
        Ok(monitor)
    }

    /// Gives an order; the answer is read as `T`.
    ///
    /// # Errors
    /// QEMU refuses, is gone, or does not answer before the deadline.
    pub(super) async fn execute<T: DeserializeOwned>(
        &mut self,
        command: &'static str,
        arguments: &Value,
    ) -> Result<T, QmpError> {
        let answer = timeout(ANSWER_DEADLINE, self.ask(command, arguments))
            .await
            .map_err(|_| QmpError::Silent(command))??;
        Ok(serde_json::from_value(answer)?)
    }

    /// Gives an order whose answer says nothing.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub(super) async fn order(
        &mut self,
        command: &'static str,
        arguments: &Value,
    ) -> Result<(), QmpError> {
        self.execute::<Value>(command, arguments).await.map(drop)
    }

    /// The next event that `is_meant`; one that came during an order counts too. Events before it
    /// are dropped.
    ///
    /// # Errors
    /// QEMU is gone. The caller's deadline bounds it.
    pub(super) async fn event(
        &mut self,
        is_meant: impl Fn(&Event) -> bool,
    ) -> Result<Event, QmpError> {
        loop {
            let found = self.events.iter().position(&is_meant);
            if let Some(at) = found {
                return self.events.drain(..=at).next_back().ok_or(QmpError::Closed);
            }
            self.events.clear();
            if let Line::Event(event) = self.line().await? {
                self.events.push(event);
            }
        }
    }

    async fn ask(&mut self, command: &'static str, arguments: &Value) -> Result<Value, QmpError> {
        let mut line = serde_json::to_vec(&json!({"execute": command, "arguments": arguments}))?;
        line.push(b'\n');
        self.writer.write_all(&line).await?;
        loop {
            match self.line().await? {
                Line::Return { r#return } => return Ok(r#return),
                Line::Error { error } => {
                    return Err(QmpError::Refused {
                        command,
                        description: error.desc,
                    });
                }
                Line::Event(event) => {
                    if self.events.len() == MAX_EVENTS {
                        self.events.remove(0);
                    }
                    self.events.push(event);
                }
                Line::Greeting { .. } => {}
            }
        }
    }

    async fn line(&mut self) -> Result<Line, QmpError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.reader).take(MAX_LINE);
        match bounded.read_until(b'\n', &mut line).await? {
            0 => Err(QmpError::Closed),
            _ if line.last() != Some(&b'\n') => Err(QmpError::Closed),
            _ => Ok(serde_json::from_slice(&line)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// A monitor that greets and then answers each line by the next of `answers`.
    async fn play(answers: &'static [&'static str]) -> (tempfile::TempDir, Result<Qmp, QmpError>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            writer
                .write_all(b"{\"QMP\": {\"version\": {}}}\n")
                .await
                .unwrap();
            for answer in answers {
                if lines.next_line().await.unwrap().is_none() {
                    return;
                }
                writer.write_all(answer.as_bytes()).await.unwrap();
                writer.write_all(b"\n").await.unwrap();
            }
            // Held open until the client goes.
            let _ = lines.next_line().await;
        });
        (dir, Qmp::connect(&path).await)
    }

    #[tokio::test]
    async fn an_answer_is_told_from_events_and_events_are_kept() {
        let (_dir, monitor) = play(&[
            r#"{"return": {}}"#,
            "{\"event\": \"RESET\", \"data\": {\"guest\": true}, \"timestamp\": {}}\n{\"return\": {\"running\": true}}",
        ])
        .await;
        let mut monitor = monitor.unwrap();
        let status: Value = monitor.execute("query-status", &json!({})).await.unwrap();
        assert_eq!(status, json!({"running": true}));
        let event = monitor.event(|event| event.name == "RESET").await.unwrap();
        assert_eq!(event.data, json!({"guest": true}));
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_reason() {
        let (_dir, monitor) = play(&[
            r#"{"return": {}}"#,
            r#"{"error": {"class": "GenericError", "desc": "no such job"}}"#,
        ])
        .await;
        let error = monitor.unwrap().order("job-dismiss", &json!({})).await;
        assert_eq!(
            error.unwrap_err().to_string(),
            "`job-dismiss` was refused: no such job"
        );
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_no_panic() {
        for nonsense in ["[]", "nonsense", "{\"QMP\"", "17"] {
            let (_dir, monitor) = play(Box::leak(Box::new([nonsense]))).await;
            assert!(matches!(monitor, Err(QmpError::Nonsense(_))), "{nonsense}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_greets_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let error = Qmp::connect(&path).await.unwrap_err();
        assert!(matches!(error, QmpError::Silent(_)), "{error}");
    }
}
