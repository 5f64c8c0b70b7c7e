//! The command line's end of the control socket: finding the daemon, starting one, and asking.

mod start;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::{Call, DaemonInfo, MAX_LINE, Reply, Request};
use crate::{
    carrier::ssh::keyring,
    error::{CommandError, Kind},
    paths::Paths,
};

/// A way to this user's daemon. Each [`call`](Self::call) is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    paths: Paths,
    /// The program that a daemon is started from; none when it must not be.
    program: Option<PathBuf>,
}

impl Client {
    /// A way to the daemon of this version. Without one, or with one of another version, which is
    /// asked to end, `program` is started as one; its machines go on running meanwhile.
    ///
    /// # Errors
    /// `HostIo` with the log's last lines when it does not start, `Timeout` when it does not say
    /// that it is ready, `Conflict` when one of another version does not end.
    pub async fn connect_or_start(paths: &Paths, program: &Path) -> Result<Self, CommandError> {
        let client = Self {
            paths: paths.clone(),
            program: Some(program.to_owned()),
        };
        match client.daemon().await {
            Ok(info) if info.version == env!("CARGO_PKG_VERSION") => {}
            Ok(_) => start::replace(&client.paths, program).await?,
            // One that goes away while we ask is as good as none.
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::Unreachable) => {
                start::start(&client.paths, program).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(client)
    }

    /// A way to a daemon that runs, of whatever version.
    ///
    /// # Errors
    /// `NotFound` when none runs.
    pub async fn connect_existing(paths: &Paths) -> Result<Self, CommandError> {
        let client = Self {
            paths: paths.clone(),
            program: None,
        };
        client.daemon().await?;
        Ok(client)
    }

    /// Who the daemon is.
    ///
    /// # Errors
    /// `NotFound` when none runs.
    pub async fn daemon(&self) -> Result<DaemonInfo, CommandError> {
        let mut replies = call(&self.paths, Request::Daemon).await?;
        match replies.next().await? {
            Reply::Daemon(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something. A daemon that ended since the last call is started again, when that is
    /// allowed.
    ///
    /// # Errors
    /// As the ways to connect.
    pub async fn call(&self, request: Request) -> Result<Replies, CommandError> {
        match (call(&self.paths, request.clone()).await, &self.program) {
            (Err(error), Some(program)) if error.kind == Kind::NotFound => {
                start::start(&self.paths, program).await?;
                call(&self.paths, request).await
            }
            (result, _) => result,
        }
    }
}

/// The answer to a call, line by line. Dropping it ends the telling, never the work.
#[derive(Debug)]
pub struct Replies {
    reader: BufReader<OwnedReadHalf>,
    line: Vec<u8>,
    /// Held open: its end is the client's going.
    writer: OwnedWriteHalf,
}

impl Replies {
    /// The next reply; after [`Reply::Done`] there is none. Cancel-safe.
    ///
    /// # Errors
    /// What the daemon says has failed, as it says it; `Unreachable` when it ended before it said
    /// the end; `Bug` when a line makes no sense.
    pub async fn next(&mut self) -> Result<Reply, CommandError> {
        // What was read stays in `line` when the future is dropped.
        let left = (MAX_LINE + 1).saturating_sub(self.line.len());
        let mut bounded = (&mut self.reader).take(u64::try_from(left).unwrap_or(u64::MAX));
        let read = bounded.read_until(b'\n', &mut self.line).await;
        if read.is_err() || self.line.last() != Some(&b'\n') {
            if self.line.len() > MAX_LINE {
                return Err(CommandError::new(
                    Kind::Bug,
                    "a line of the daemon is too long",
                ));
            }
            return Err(ended());
        }
        match Reply::from_line(&std::mem::take(&mut self.line))? {
            Reply::Failed(failure) => Err(failure.into()),
            reply => Ok(reply),
        }
    }

    /// The connection itself, once the daemon has said that it carries no lines any more.
    #[must_use]
    pub fn into_connection(self) -> (BufReader<OwnedReadHalf>, OwnedWriteHalf) {
        (self.reader, self.writer)
    }

    /// Waits until the daemon has closed its end.
    async fn closed(&mut self) {
        let mut rest = [0; 512];
        while !matches!(self.reader.read(&mut rest).await, Ok(0) | Err(_)) {}
    }
}

impl Reply {
    /// Reads a line of the daemon.
    ///
    /// # Errors
    /// `Bug` when it makes no sense.
    pub fn from_line(line: &[u8]) -> Result<Self, CommandError> {
        serde_json::from_slice(line).map_err(|error| {
            CommandError::new(
                Kind::Bug,
                format!(
                    "a line of the daemon cannot be read: {}",
                    crate::sanitize::line(&error.to_string())
                ),
            )
        })
    }
}

async fn call(paths: &Paths, request: Request) -> Result<Replies, CommandError> {
    let path = paths.control_socket();
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|error| not_connected(&path, &error))?;
    let (reader, mut writer) = stream.into_split();
    let call = Call {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ssh_agent: keyring().agent(),
        request,
    };
    let mut line = serde_json::to_vec(&call)
        .map_err(|error| CommandError::new(Kind::Bug, format!("cannot write a call: {error}")))?;
    line.push(b'\n');
    if line.len() > MAX_LINE {
        return Err(CommandError::new(
            Kind::BadInput,
            format!("the request is longer than {MAX_LINE} bytes"),
        ));
    }
    // A daemon that turned us away says why, or nothing, when we read.
    let _ = writer.write_all(&line).await;
    Ok(Replies {
        reader: BufReader::new(reader),
        line: Vec::new(),
        writer,
    })
}

fn not_connected(path: &Path, error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            CommandError::new(Kind::NotFound, "no daemon runs").hint("`lkc-host up` starts one")
        }
        _ => CommandError::new(
            Kind::HostIo,
            format!("cannot connect to {}: {error}", path.display()),
        ),
    }
}

fn ended() -> CommandError {
    CommandError::new(Kind::Unreachable, "the daemon ended before it answered")
        .hint("run this again: clusters go on running, and the daemon starts when it is needed")
        .hint("`lkc-host daemon log` shows its last words")
}

fn unexpected(reply: &Reply) -> CommandError {
    CommandError::new(
        Kind::Bug,
        format!("the daemon answered something else: {reply:?}"),
    )
}
