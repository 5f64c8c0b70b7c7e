//! `lkc-host restart`.

use super::{
    End,
    context::Context,
    conversation::Conversation,
    follow::default_goal,
    up::{close, millis},
};
use crate::{
    cli::{Restart, WaitFor},
    control::Request,
    error::CommandError,
};

pub(super) async fn run(context: &Context<'_>, args: &Restart) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let goal = match &args.wait {
        None => Some(default_goal(context, &cluster).await?),
        Some(WaitFor::Nothing) => None,
        Some(WaitFor::Goal(goal)) => Some(goal.clone()),
    };
    let timeout_ms = millis(args.timeout);
    let request = Request::Restart {
        cluster,
        goal: goal.clone(),
        timeout_ms,
    };
    let conversation = Conversation::start(context, request).await?;
    close(context, conversation, goal, args.timeout).await?;
    Ok(End::Done)
}
