//! `lkc-host status`.

use std::collections::BTreeMap;

use super::{End, context::Context, conversation::Conversation};
use crate::{
    cli::Status,
    config::ClusterName,
    control::{ClusterStatus, Reply, Request},
    error::{CommandError, Kind},
    output::{ChangedRows, cluster_table, cluster_view},
};

pub(super) async fn run(context: &Context<'_>, args: &Status) -> Result<End, CommandError> {
    if args.watch {
        return watch(context, args.cluster.as_ref()).await;
    }
    // Of several nodes each would be waited for.
    let node = args.cluster.is_some();
    let clusters = all(context, args.cluster.clone(), node).await?;
    let output = context.output;
    if output.is_json() {
        output.json(&clusters)?;
    } else if let (Some(_), [cluster]) = (&args.cluster, clusters.as_slice()) {
        output.result(&cluster_view(cluster, output.paint(), output.width()))?;
    } else if clusters.is_empty() {
        output.talk("no cluster yet; `lkc-host up` makes one");
    } else {
        output.result(&cluster_table(&clusters, output.paint()))?;
    }
    Ok(End::Done)
}

/// How one cluster stands.
pub(super) async fn one(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<ClusterStatus, CommandError> {
    let found = all(context, Some(cluster.clone()), false)
        .await?
        .into_iter()
        .next();
    found.ok_or_else(|| no_cluster(cluster))
}

pub(super) fn no_cluster(cluster: &ClusterName) -> CommandError {
    CommandError::new(Kind::NotFound, format!("there is no cluster {cluster}"))
        .hint(format!("make it with `lkc-host up {cluster}`"))
}

async fn all(
    context: &Context<'_>,
    cluster: Option<ClusterName>,
    node: bool,
) -> Result<Vec<ClusterStatus>, CommandError> {
    let request = Request::Status {
        cluster,
        follow: false,
        node,
    };
    let mut conversation = Conversation::start(context, request).await?;
    let mut clusters = BTreeMap::new();
    loop {
        match conversation.next().await? {
            Reply::Status { cluster } => {
                clusters.insert((cluster.index, cluster.name.clone()), *cluster);
            }
            Reply::Done(_) => return Ok(clusters.into_values().collect()),
            _ => {}
        }
    }
}

async fn watch(context: &Context<'_>, cluster: Option<&ClusterName>) -> Result<End, CommandError> {
    let request = Request::Status {
        cluster: cluster.cloned(),
        follow: true,
        node: false,
    };
    let mut conversation = Conversation::start(context, request).await?;
    let mut said: BTreeMap<ClusterName, ChangedRows> = BTreeMap::new();
    loop {
        match conversation.next().await? {
            Reply::Status { cluster } if context.output.is_json() => {
                context.output.json_line(&cluster)?;
            }
            Reply::Status { cluster } => {
                let rows = said.entry(cluster.name.clone()).or_default();
                for line in rows.watch_lines(&cluster, context.output.paint()) {
                    context.output.result(&line)?;
                }
            }
            Reply::Done(_) => return Ok(End::Done),
            _ => {}
        }
    }
}
