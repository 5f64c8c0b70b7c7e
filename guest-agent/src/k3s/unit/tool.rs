//! journalctl, run as a child: within a deadline, with bounded output.

use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::Unit;
use crate::readiness::one_line;

/// How long an answer may take; systemd answers in milliseconds unless the machine is in trouble.
const DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of output that are read; an honest answer has under 2 KiB, 20 lines of a log some more.
const MAX_OUTPUT_BYTES: u64 = 256 * 1024;

/// Why a tool of systemd gave no answer.
#[derive(Debug, Error)]
pub(super) enum ToolError {
    /// Not to be run.
    #[error("cannot run {tool}")]
    Run {
        /// Which tool.
        tool: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It says that it cannot.
    #[error("`{tool} {verb}` failed for {unit}: {why}")]
    Refused {
        /// Which tool.
        tool: &'static str,
        /// What was asked of it.
        verb: String,
        /// The unit.
        unit: String,
        /// Its own words.
        why: String,
    },
    /// It takes too long.
    #[error("{tool} gives no answer within {} s", DEADLINE.as_secs())]
    Slow {
        /// Which tool.
        tool: &'static str,
    },
}

impl Unit {
    /// The last lines of what it said.
    pub(super) async fn log_tail(&self, lines: usize) -> Result<Vec<String>, ToolError> {
        let arguments = self.journal_arguments(lines);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.run("journalctl", &arguments).await?;
        Ok(output.lines().map(one_line).collect())
    }

    /// For journalctl: the messages alone, none of the reader's own.
    pub(super) fn journal_arguments(&self, lines: usize) -> Vec<String> {
        vec![
            format!("--unit={}", self.name),
            format!("--lines={lines}"),
            "--output=cat".to_owned(),
            "--no-pager".to_owned(),
            "--quiet".to_owned(),
        ]
    }

    pub(super) async fn run(
        &self,
        tool: &'static str,
        arguments: &[&str],
    ) -> Result<String, ToolError> {
        let run = |source| ToolError::Run { tool, source };
        let mut child = self.command(tool, arguments).spawn().map_err(run)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let finished = async {
            let (output, complaint) = tokio::try_join!(bounded(stdout), bounded(stderr))?;
            Ok((output, complaint, child.wait().await?))
        };
        let finished = tokio::time::timeout(DEADLINE, finished).await;
        let Ok(finished) = finished else {
            // Killed and reaped here, so that nothing is left to somebody else.
            let _ = child.kill().await;
            return Err(ToolError::Slow { tool });
        };
        let (output, complaint, status) = finished.map_err(run)?;
        if status.success() {
            return Ok(output);
        }
        let why = match one_line(&complaint) {
            silent if silent.is_empty() => status.to_string(),
            complaint => complaint,
        };
        Err(ToolError::Refused {
            tool,
            verb: arguments.first().copied().unwrap_or_default().to_owned(),
            unit: self.to_string(),
            why,
        })
    }

    /// A child that is killed when it is dropped.
    pub(super) fn command(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.tool(tool));
        command
            .args(arguments)
            // Its words are shown as they are; colours and pagers are for people.
            .env("SYSTEMD_COLORS", "0")
            .env("SYSTEMD_PAGER", "")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// What is there up to the bound; the rest is taken from the child, so that it can end, and dropped.
async fn bounded(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<String> {
    let Some(mut stream) = stream else {
        return Ok(String::new());
    };
    let mut output = Vec::new();
    (&mut stream)
        .take(MAX_OUTPUT_BYTES)
        .read_to_end(&mut output)
        .await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}
