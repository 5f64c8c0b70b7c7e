//! A program in the guest, as a command of ours has it.

use lkc_protocol::exec::{Decoder, ExecError, FromProgram, ProgramEnd};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use super::{context::Context, conversation::Conversation};
use crate::{
    config::ClusterName,
    control::{Program, Reply, Request},
    error::{CommandError, Kind},
};

/// What a program sends.
pub(super) struct Pieces {
    daemon: BufReader<OwnedReadHalf>,
    decoder: Decoder,
}

/// Starts `program`: what it sends, and where it is sent to.
pub(super) async fn start(
    context: &Context<'_>,
    cluster: ClusterName,
    program: Program,
) -> Result<(Pieces, OwnedWriteHalf), CommandError> {
    let request = Request::Exec { cluster, program };
    let mut conversation = Conversation::start(context, request).await?;
    match conversation.next().await? {
        Reply::Joined => {}
        other => {
            let text = format!("the daemon answered something else: {other:?}");
            return Err(CommandError::new(Kind::Bug, text));
        }
    }
    let (daemon, to_daemon) = conversation.into_connection();
    let decoder = Decoder::default();
    Ok((Pieces { daemon, decoder }, to_daemon))
}

/// Runs a program without input: the first `limit` bytes of its output, and how it ended.
pub(super) async fn output_of(
    context: &Context<'_>,
    cluster: &ClusterName,
    arguments: &[&str],
    limit: usize,
) -> Result<(Vec<u8>, ProgramEnd), CommandError> {
    let program = Program {
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        ..Program::default()
    };
    // Held open: its end would be ours.
    let (mut pieces, _to_daemon) = start(context, cluster.clone(), program).await?;
    let mut output = Vec::new();
    loop {
        match pieces.next().await? {
            FromProgram::Output(bytes) => {
                let room = limit.saturating_sub(output.len());
                output.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            FromProgram::Errors(_) => {}
            FromProgram::Ended(end) => return Ok((output, end)),
        }
    }
}

impl Pieces {
    /// The next one; nothing comes behind the end. Cancel-safe.
    ///
    /// # Errors
    /// `Unreachable` when the link was lost before the end.
    pub(super) async fn next(&mut self) -> Result<FromProgram, CommandError> {
        loop {
            if let Some(piece) = self.decoder.pop().map_err(nonsense)? {
                return Ok(piece);
            }
            let bytes = self.daemon.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                return Err(lost());
            }
            self.decoder.push(bytes);
            let count = bytes.len();
            self.daemon.consume(count);
        }
    }
}

fn lost() -> CommandError {
    CommandError::new(
        Kind::Unreachable,
        "the link to the guest was lost while the program ran",
    )
    .hint("the program was told that its terminal is gone, and has ended unless it ignores that")
}

fn nonsense(error: ExecError) -> CommandError {
    CommandError::new(Kind::Other, error).context("what the guest sends makes no sense")
}
