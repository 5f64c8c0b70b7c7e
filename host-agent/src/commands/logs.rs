//! `lkc-host logs`.

use lkc_protocol::message::LogSource;

use super::{End, context::Context, conversation::Conversation, file_log};
use crate::{
    cli::{Logs, Source},
    control::{Reply, Request},
    error::CommandError,
    machine, sanitize,
};

pub(super) async fn run(context: &Context<'_>, args: &Logs) -> Result<End, CommandError> {
    let source = match args.source {
        Source::K3s => LogSource::K3s,
        Source::Agent => LogSource::Agent,
        Source::Daemon => {
            file_log::show(
                context,
                &context.paths.daemon_log(),
                args.lines,
                args.follow,
            )
            .await?;
            return Ok(End::Done);
        }
        Source::Machine => {
            let cluster = context.cluster(args.which.cluster.as_ref())?;
            let path = machine::log_path(&context.paths.cluster(&cluster).machine_dir());
            file_log::show(context, &path, args.lines, args.follow).await?;
            return Ok(End::Done);
        }
    };
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let request = Request::Logs {
        cluster,
        source,
        tail: args.lines,
        follow: args.follow,
    };
    let mut conversation = Conversation::start(context, request).await?;
    loop {
        match conversation.next().await? {
            Reply::Log { text } => context.output.log_line(&sanitize::line(&text))?,
            Reply::Note { text } => context.output.talk(&sanitize::line(&text)),
            Reply::Done(_) => return Ok(End::Done),
            _ => {}
        }
    }
}
