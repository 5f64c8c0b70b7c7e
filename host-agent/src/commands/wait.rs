//! `lkc-host wait`.

use super::{
    End,
    context::Context,
    conversation::Conversation,
    follow::{default_goal, follow},
    up::millis,
};
use crate::{cli::Wait, control::Request, error::CommandError};

pub(super) async fn run(context: &Context<'_>, args: &Wait) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let goals = if args.goals.is_empty() {
        vec![default_goal(context, &cluster).await?]
    } else {
        args.goals.clone()
    };
    let timeout_ms = millis(args.timeout);
    let request = Request::Wait {
        cluster,
        goals: goals.clone(),
        timeout_ms,
    };
    let conversation = Conversation::start(context, request).await?;
    follow(context, conversation, goals, args.timeout).await?;
    Ok(End::Done)
}
