//! `lkc-host up`.

use super::{End, context::Context, conversation::Conversation, follow::follow, image, remembered};
use crate::{
    cli::{Up, WaitFor},
    config::{ClusterName, ClusterSpec, UpDefaults},
    control::{Goal, Request},
    error::CommandError,
    output::Closing,
};

pub(super) async fn run(context: &Context<'_>, args: &Up) -> Result<End, CommandError> {
    let mut config = context.config()?;
    let names: Vec<ClusterName> = if args.which.all {
        config
            .clusters
            .iter()
            .map(|(spec, _)| spec.name.clone())
            .collect()
    } else {
        vec![context.cluster(args.which.which.cluster.as_ref())?]
    };
    let mut decided = Vec::new();
    for name in &names {
        let mut overrides = args.overrides();
        let known = if config.path.is_none() {
            remembered::read(context, name)?
        } else {
            None
        };
        let as_it_was = known.as_ref().filter(|_| overrides.is_empty()).cloned();
        if let Some(spec) = &known {
            overrides = remembered::complete(overrides, spec);
        }
        config = config.with_overrides(Some(name), &overrides)?;
        let (spec, defaults) = config.cluster(Some(name))?.clone();
        decided.push((as_it_was.unwrap_or(spec), defaults));
    }
    for warning in config
        .warnings
        .iter()
        .filter(|warning| names.contains(&warning.cluster))
    {
        context.output.warn(&warning.to_string());
    }
    for (mut spec, defaults) in decided {
        image::find(context, &mut spec).await?;
        bring_up(context, args, spec, defaults).await?;
    }
    Ok(End::Done)
}

async fn bring_up(
    context: &Context<'_>,
    args: &Up,
    spec: ClusterSpec,
    defaults: UpDefaults,
) -> Result<(), CommandError> {
    let goal = wanted(args.wait.as_ref(), || defaults.goal);
    let timeout = args.timeout.unwrap_or(defaults.timeout);
    let request = Request::Up {
        spec: Box::new(spec),
        goal: goal.clone(),
        timeout_ms: millis(timeout),
    };
    let conversation = Conversation::start(context, request).await?;
    close(context, conversation, goal, timeout).await
}

/// Follows an `up` or a `restart` to its end and says how to go on.
pub(super) async fn close(
    context: &Context<'_>,
    conversation: Conversation,
    goal: Option<Goal>,
    timeout: std::time::Duration,
) -> Result<(), CommandError> {
    let how = if goal.is_some() {
        Closing::Reached
    } else {
        Closing::NotAwaited
    };
    let (progress, done) =
        follow(context, conversation, goal.into_iter().collect(), timeout).await?;
    if let Some(status) = progress.status() {
        let text = crate::output::closing(status, &done, how, context.output.paint());
        context.output.summary(&text)?;
    }
    Ok(())
}

/// What `--wait` asks for.
pub(super) fn wanted(flag: Option<&WaitFor>, default: impl FnOnce() -> Goal) -> Option<Goal> {
    match flag {
        None => Some(default()),
        Some(WaitFor::Nothing) => None,
        Some(WaitFor::Goal(goal)) => Some(goal.clone()),
    }
}

pub(super) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
