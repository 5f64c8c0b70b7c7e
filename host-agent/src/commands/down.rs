//! `lkc-host down`.

use super::{End, context::Context, follow::finish};
use crate::{
    cli::{Down, WhichOrAll},
    config::ClusterName,
    control::{Done, Request},
    error::CommandError,
};

pub(super) async fn run(context: &Context<'_>, args: &Down) -> Result<End, CommandError> {
    let mut downed = Vec::new();
    for cluster in chosen(context, &args.which)? {
        let request = Request::Down {
            cluster: cluster.clone(),
        };
        let done = finish(context, request, args.timeout).await?;
        context.output.summary(&if done.changed {
            format!(
                "Cluster {cluster} is down; its data stays. `lkc-host up {cluster}` brings it back."
            )
        } else {
            format!("Cluster {cluster} is down already; nothing to do.")
        })?;
        downed.push(outcome(&cluster, &done));
    }
    if context.output.is_json() {
        context.output.json(&downed)?;
    }
    Ok(End::Done)
}

/// The clusters that a command on one or all is about.
pub(super) fn chosen(
    context: &Context<'_>,
    which: &WhichOrAll,
) -> Result<Vec<ClusterName>, CommandError> {
    if which.all {
        context.known_clusters()
    } else {
        Ok(vec![context.cluster(which.which.cluster.as_ref())?])
    }
}

/// One element of what `down` and `delete` print for programs.
pub(super) fn outcome(cluster: &ClusterName, done: &Done) -> serde_json::Value {
    serde_json::json!({ "cluster": cluster, "changed": done.changed, "elapsed_ms": done.elapsed_ms })
}
