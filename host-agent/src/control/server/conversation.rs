//! One client: its line, what it asks, what it is told.

use std::{io, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{exec, follow, logs};
use crate::{
    carrier::ssh::keyring,
    control::{Call, Done, Failure, MAX_LINE, Reply, Request},
    daemon::{Handle, state::ClusterRequest},
    error::{CommandError, Kind},
    machine::SnapshotOrder,
};

/// How long a client may take to say what it wants.
const LINE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a client may leave a line unread before it is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// How long the guest may take to answer that it begins to tell.
pub(super) const BEGIN_DEADLINE: Duration = Duration::from_secs(10);

/// Why a conversation ended before its end. Nobody is told: the client is gone or hangs.
#[derive(Debug, Error)]
pub(super) enum Gone {
    #[error("the client takes nothing any more")]
    Write(#[from] io::Error),
    #[error("the client reads nothing any more")]
    Stuck,
}

/// A client.
#[derive(Debug)]
pub(super) struct Conversation {
    reader: BufReader<OwnedReadHalf>,
    teller: Teller,
    handle: Handle,
}

/// The way to a client.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) writer: OwnedWriteHalf,
    /// When the client came.
    pub(super) since: Instant,
}

impl Teller {
    /// Tells one line.
    ///
    /// # Errors
    /// The client is gone or hangs.
    pub(super) async fn tell(&mut self, reply: &Reply) -> Result<(), Gone> {
        let mut line = serde_json::to_vec(reply).map_err(io::Error::other)?;
        line.push(b'\n');
        match timeout(WRITE_DEADLINE, self.writer.write_all(&line)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Gone::Stuck),
        }
    }

    /// Tells the end.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub(super) async fn end(&mut self, end: Result<bool, Failure>) -> Result<(), Gone> {
        let elapsed = self.since.elapsed().as_millis();
        let reply = match end {
            Ok(changed) => Reply::Done(Done {
                changed,
                elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
            }),
            Err(failure) => Reply::Failed(failure),
        };
        self.tell(&reply).await
    }
}

impl Conversation {
    pub(super) fn new(stream: UnixStream, handle: Handle) -> Self {
        let (reader, writer) = stream.into_split();
        let since = Instant::now();
        Self {
            reader: BufReader::new(reader),
            teller: Teller { writer, since },
            handle,
        }
    }

    /// Hears the client out and answers, until the end, its going or `stop`.
    pub(super) async fn hold(mut self, stop: CancellationToken) {
        let heard = tokio::select! {
            heard = timeout(LINE_DEADLINE, self.read_call()) => heard,
            () = stop.cancelled() => return,
        };
        let call = match heard {
            Ok(Ok(Some(call))) => call,
            Ok(Ok(None)) => return,
            Ok(Err(failure)) => {
                let _ = self.teller.end(Err(failure)).await;
                return;
            }
            Err(_) => {
                let _ = self.teller.end(Err(nothing_said())).await;
                return;
            }
        };
        let Self {
            mut reader,
            mut teller,
            handle,
        } = self;
        if let Some(agent) = &call.ssh_agent {
            keyring().take_agent(agent.clone());
        }
        if let Request::Exec { cluster, program } = &call.request {
            let joined = exec::serve(&mut reader, &mut teller, &handle, cluster, program);
            if let Some(Err(error)) = stop.run_until_cancelled(joined).await {
                tracing::debug!("a program's conversation ended early: {error}");
            }
            return;
        }
        let gone = async {
            // A client says one line: what comes then is its end, and anything else is ignored.
            let mut rest = [0; 512];
            while !matches!(reader.read(&mut rest).await, Ok(0) | Err(_)) {}
        };
        let stops = matches!(call.request, Request::StopDaemon);
        let answered = tokio::select! {
            // The stop first: what is followed ends with the daemon too, and that is no answer.
            biased;
            () = stop.cancelled() => return,
            () = gone => return,
            answered = answer(call, &mut teller, &handle) => answered,
        };
        match answered {
            Ok(()) if stops => handle.stop(),
            Ok(()) => {}
            Err(error) => tracing::debug!("a conversation ended early: {error}"),
        }
    }

    /// The client's line; none when it said nothing at all.
    async fn read_call(&mut self) -> Result<Option<Call>, Failure> {
        let mut line = Vec::new();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let mut bounded = (&mut self.reader).take(limit);
        let read = bounded.read_until(b'\n', &mut line).await;
        match read {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) if line.last() == Some(&b'\n') => {}
            Ok(_) if line.len() >= MAX_LINE => {
                return Err(bad_line(&format!("it is longer than {MAX_LINE} bytes")));
            }
            Ok(_) => return Ok(None),
        }
        Call::from_line(&line).map(Some)
    }
}

impl Call {
    /// Reads the line of a client.
    ///
    /// # Errors
    /// `BadInput` when it makes no sense, `Version` when it is a client of another version, which
    /// may only ask who the daemon is and end it.
    pub fn from_line(line: &[u8]) -> Result<Self, Failure> {
        let call: Self = serde_json::from_slice(line).map_err(|error| unreadable(line, &error))?;
        let any_version = matches!(call.request, Request::Daemon | Request::StopDaemon);
        if call.version != env!("CARGO_PKG_VERSION") && !any_version {
            return Err(other_version(&call.version));
        }
        Ok(call)
    }
}

async fn answer(call: Call, teller: &mut Teller, handle: &Handle) -> Result<(), Gone> {
    match call.request {
        Request::Up {
            spec,
            goal,
            timeout_ms,
        } => {
            let cluster = spec.name.clone();
            let asked = handle.ask(ClusterRequest::Up(spec)).await;
            let goals = goal.into_iter().collect();
            follow::begun(teller, handle, cluster, asked, goals, timeout_ms).await
        }
        Request::Restart {
            cluster,
            goal,
            timeout_ms,
        } => {
            let asked = handle.ask(ClusterRequest::Restart(cluster.clone())).await;
            let goals = goal.into_iter().collect();
            follow::begun(teller, handle, cluster, asked, goals, timeout_ms).await
        }
        Request::Wait {
            cluster,
            goals,
            timeout_ms,
        } => follow::wait(teller, handle, cluster, goals, timeout_ms).await,
        Request::Down { cluster } => {
            let asked = handle.ask(ClusterRequest::Down(cluster.clone())).await;
            follow::stopped(teller, handle, cluster, asked).await
        }
        Request::Delete { cluster } => {
            let asked = handle.ask(ClusterRequest::Delete(cluster.clone())).await;
            follow::deleted(teller, handle, cluster, asked).await
        }
        Request::Status {
            cluster,
            follow,
            node,
        } => follow::status(teller, handle, cluster, follow, node).await,
        Request::AddForward { cluster, forward } => {
            let request = ClusterRequest::AddForward(cluster, Box::new(forward));
            let answer = handle.ask(request).await;
            teller.end(answer.map(|begun| begun.changed)).await
        }
        Request::RemoveForward { cluster, forward } => {
            let request = ClusterRequest::RemoveForward(cluster, forward);
            let answer = handle.ask(request).await;
            teller.end(answer.map(|begun| begun.changed)).await
        }
        Request::CheckForwards { cluster, forwards } => {
            let end = match handle.check(&cluster, &forwards).await {
                Ok(checks) => {
                    for check in checks {
                        teller.tell(&Reply::Checked(check)).await?;
                    }
                    Ok(false)
                }
                Err(failure) => Err(failure),
            };
            teller.end(end).await
        }
        Request::Snapshot { cluster, order } => {
            let end = match handle.snapshot(&cluster, &order).await {
                Ok(snapshots) => {
                    teller.tell(&Reply::Snapshots { snapshots }).await?;
                    Ok(order != SnapshotOrder::List)
                }
                Err(failure) => Err(failure),
            };
            teller.end(end).await
        }
        Request::Logs {
            cluster,
            source,
            tail,
            follow,
        } => {
            let wanted = logs::Wanted {
                cluster,
                source,
                tail,
                follow,
            };
            let end = logs::tell(teller, handle, &wanted).await?;
            teller.end(end.map(|()| false)).await
        }
        // Its conversation is another one.
        Request::Exec { .. } => Ok(()),
        Request::LockedKeys => {
            let files = keyring().wanted();
            teller.tell(&Reply::LockedKeys { files }).await?;
            teller.end(Ok(false)).await
        }
        Request::Unlock { file, passphrase } => {
            // As slow as guessing is to be.
            let opened =
                tokio::task::spawn_blocking(move || keyring().unlock(&file, passphrase.expose()));
            let end = match opened.await {
                Ok(Ok(())) => Ok(true),
                Ok(Err(error)) => Err(CommandError::new(Kind::BadInput, error).into()),
                Err(error) => Err(CommandError::new(Kind::Bug, error).into()),
            };
            teller.end(end).await
        }
        Request::Daemon => {
            teller.tell(&Reply::Daemon(handle.info())).await?;
            teller.end(Ok(false)).await
        }
        Request::StopDaemon => teller.end(Ok(true)).await,
    }
}

fn nothing_said() -> Failure {
    bad_line(&format!("none came within {} s", LINE_DEADLINE.as_secs()))
}

fn bad_line(why: &str) -> Failure {
    Failure {
        kind: Kind::BadInput,
        // The reason may quote the line.
        message: format!(
            "the daemon cannot use the client's line: {}",
            crate::sanitize::line(why)
        ),
        hints: Vec::new(),
        tail: Vec::new(),
    }
}

/// A line of another version may have another shape, so the version is looked for first.
fn unreadable(line: &[u8], error: &serde_json::Error) -> Failure {
    #[derive(serde::Deserialize)]
    struct OnlyVersion {
        version: String,
    }
    match serde_json::from_slice::<OnlyVersion>(line) {
        Ok(OnlyVersion { version }) if version != env!("CARGO_PKG_VERSION") => {
            other_version(&version)
        }
        _ => bad_line(&error.to_string()),
    }
}

fn other_version(theirs: &str) -> Failure {
    Failure {
        kind: Kind::Version,
        message: format!(
            "the daemon is version {}, this program is {}",
            env!("CARGO_PKG_VERSION"),
            crate::sanitize::line(theirs)
        ),
        hints: vec![
            "run `lkc-host daemon stop`, then this again: clusters go on running".to_owned(),
        ],
        tail: Vec::new(),
    }
}
