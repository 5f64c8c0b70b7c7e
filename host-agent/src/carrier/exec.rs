//! Standard input and output of a command. What it says on standard error is kept for the message
//! when it ends; when the carrier ends, it and what it started are killed.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    process::{ExitStatus, Stdio},
    task::{Context, Poll, ready},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{ConnectFailure, ConnectedCarrier};
use crate::sanitize;

/// Bytes of standard error that are kept, the last ones.
const KEPT_STDERR: usize = 4096;

/// How long a command whose output has ended may take to say how it ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Starts `command`, the program and its arguments. That it leads anywhere shows with its first
/// bytes.
///
/// # Errors
/// The program is not there or cannot be run.
pub(super) fn connect(command: &[String]) -> Result<ConnectedCarrier, ConnectFailure> {
    start(command).map(ConnectedCarrier::remote)
}

fn start(command: &[String]) -> Result<Running, ConnectFailure> {
    let (program, arguments) = command
        .split_first()
        .map_or(("", [].as_slice()), |(program, rest)| {
            (program.as_str(), rest)
        });
    let failed = |source| ConnectFailure::Program {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: what the command starts goes with it, and keys that are pressed in
        // our terminal are not for it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let missing = || failed(io::ErrorKind::BrokenPipe.into());
    Ok(Running {
        stdin: child.stdin.take().ok_or_else(missing)?,
        stdout: child.stdout.take().ok_or_else(missing)?,
        process: Some(Process {
            program: sanitize::line(program),
            stderr: child.stderr.take(),
            said: Vec::new(),
            child,
        }),
        ending: None,
    })
}

/// A command that runs, and its two streams as one.
struct Running {
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// Moves into `ending`.
    process: Option<Process>,
    ending: Option<Pin<Box<dyn Future<Output = Ended> + Send>>>,
}

/// The process behind it, killed with its group when it is let go of.
struct Process {
    program: String,
    child: Child,
    stderr: Option<ChildStderr>,
    said: Vec<u8>,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    program: String,
    status: Option<ExitStatus>,
    said: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            program,
            status,
            said,
        } = self;
        match status {
            Some(status) => write!(formatter, "{program} ended with {status}")?,
            None => write!(formatter, "{program} closed its output")?,
        }
        if said.is_empty() {
            Ok(())
        } else {
            write!(formatter, ": {said}")
        }
    }
}

impl std::error::Error for Ended {}

impl Process {
    /// Keeps the end of what comes on standard error.
    fn hear(&mut self, bytes: &[u8]) {
        self.said.extend_from_slice(bytes);
        let excess = self.said.len().saturating_sub(KEPT_STDERR);
        self.said.drain(..excess);
    }

    /// Takes what is there on standard error, so that the command never waits for us to read it.
    fn poll_stderr(&mut self, context: &mut Context<'_>) {
        let mut space = [0; 1024];
        while let Some(stderr) = &mut self.stderr {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(stderr).poll_read(context, &mut buffer) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.hear(buffer.filled()),
                Poll::Ready(_) => self.stderr = None,
            }
        }
    }

    async fn end(mut self) -> Ended {
        let _ = timeout(LAST_WORDS, async {
            let mut space = [0; 1024];
            while let Some(stderr) = &mut self.stderr {
                match stderr.read(&mut space).await {
                    Ok(count @ 1..) => self.hear(&space[..count]),
                    _ => self.stderr = None,
                }
            }
        })
        .await;
        let status = timeout(LAST_WORDS, self.child.wait()).await;
        Ended {
            program: self.program.clone(),
            status: status.ok().and_then(Result::ok),
            said: sanitize::line(String::from_utf8_lossy(&self.said).trim()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // None once it was waited for: its number may be somebody else's then.
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl AsyncRead for Running {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(process) = &mut self.process {
            process.poll_stderr(context);
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.stdout).poll_read(context, buffer))?;
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            self.ending = self
                .process
                .take()
                .map(|process| Box::pin(process.end()) as Pin<Box<_>>);
        }
        match &mut self.ending {
            Some(ending) => {
                let ended = ready!(ending.as_mut().poll(context));
                self.ending = None;
                Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended)))
            }
            None => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

impl AsyncWrite for Running {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stdin).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stdin.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Running {
        start(&["sh", "-c", script].map(str::to_owned)).unwrap()
    }

    async fn error_of(running: &mut Running) -> io::Error {
        let mut sink = Vec::new();
        timeout(LIMIT, running.read_to_end(&mut sink))
            .await
            .unwrap()
            .unwrap_err()
    }

    #[tokio::test]
    async fn bytes_pass_both_ways() {
        let mut running = start(&["cat".to_owned()]).unwrap();
        let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let mut received = vec![0; sent.len()];
        let (mut reader, mut writer) = tokio::io::split(&mut running);
        let both = async {
            let (written, read) =
                tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
            written.unwrap();
            read.unwrap();
        };
        timeout(LIMIT, both).await.unwrap();
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn its_end_is_an_error_that_tells_why() {
        let error = error_of(&mut shell("echo 'no such instance' >&2; exit 7")).await;
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            error.to_string(),
            "sh ended with exit status: 7: no such instance"
        );
        let error = error_of(&mut shell("kill -9 $$")).await;
        assert_eq!(error.to_string(), "sh ended with signal: 9 (SIGKILL)");
    }

    #[tokio::test]
    async fn one_that_never_stops_complaining_is_read_and_only_its_end_kept() {
        let script = "i=0; while [ $i -lt 20000 ]; do echo \"complaint $i\" >&2; i=$((i+1)); done";
        let error = error_of(&mut shell(script)).await.to_string();
        assert!(error.len() < 2048, "{}", error.len());
    }

    #[tokio::test]
    async fn it_is_killed_with_what_it_started_and_reaped() {
        let mut running = shell("sleep 600 & echo $!; wait");
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.push(timeout(LIMIT, running.read_u8()).await.unwrap().unwrap());
        }
        let started: i32 = String::from_utf8(line).unwrap().trim().parse().unwrap();
        let command = running.process.as_ref().unwrap().child.id().unwrap();
        drop(running);
        let runs = |pid: i32| {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        };
        let gone = async {
            while runs(started) || fs::exists(format!("/proc/{command}")).unwrap() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, gone).await.expect("they run on");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let failure = start(&["/nowhere/incus".to_owned()]).err().unwrap();
        assert!(!failure.is_absent());
        assert!(
            failure
                .to_string()
                .starts_with("cannot run /nowhere/incus: "),
            "{failure}"
        );
    }
}
