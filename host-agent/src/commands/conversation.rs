//! One request to the daemon and its replies.

use tokio::{
    io::BufReader,
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
};

use super::context::Context;
use crate::{
    control::{
        Reply, Request,
        client::{Client, Replies},
    },
    error::{CommandError, Kind},
};

/// The replies to a request.
pub(super) struct Conversation {
    replies: Replies,
}

impl Conversation {
    /// Asks the daemon, which is started from this program when it does not run.
    pub(super) async fn start(
        context: &Context<'_>,
        request: Request,
    ) -> Result<Self, CommandError> {
        let program = std::env::current_exe().map_err(|error| {
            CommandError::new(Kind::HostIo, error)
                .context("the path of this program cannot be told")
        })?;
        let client = Client::connect_or_start(&context.paths, &program).await?;
        Ok(Self {
            replies: client.call(request).await?,
        })
    }

    /// Asks the daemon if it runs, of whatever version it is.
    pub(super) async fn with_existing(
        context: &Context<'_>,
        request: Request,
    ) -> Result<Option<Self>, CommandError> {
        match Client::connect_existing(&context.paths).await {
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(client) => Ok(Some(Self {
                replies: client.call(request).await?,
            })),
        }
    }

    /// The connection itself, after [`Reply::Joined`].
    pub(super) fn into_connection(self) -> (BufReader<OwnedReadHalf>, OwnedWriteHalf) {
        self.replies.into_connection()
    }

    /// The next reply, the last of which is [`Reply::Done`]. A failure is an error.
    pub(super) async fn next(&mut self) -> Result<Reply, CommandError> {
        self.replies.next().await
    }
}
