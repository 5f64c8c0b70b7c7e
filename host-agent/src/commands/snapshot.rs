//! `lkc-host snapshot`.

use std::time::Duration;

use super::{End, context::Context, conversation::Conversation};
use crate::{
    cli::{SnapshotArgs, SnapshotCommand},
    control::{Reply, Request},
    error::{CommandError, Kind},
    machine::{Snapshot, SnapshotOrder},
    output::snapshot_table,
};

/// The daemon keeps the time of each step, and this is for its silence: the memory of a large
/// machine takes minutes to be written.
const TIMEOUT: Duration = Duration::from_secs(400);

pub(super) async fn run(context: &Context<'_>, args: &SnapshotArgs) -> Result<End, CommandError> {
    let (cluster, order) = match &args.command {
        SnapshotCommand::Save(one) => (&one.cluster, SnapshotOrder::Save(one.name.clone())),
        SnapshotCommand::Restore(one) => (&one.cluster, SnapshotOrder::Restore(one.name.clone())),
        SnapshotCommand::Delete(one) => (&one.cluster, SnapshotOrder::Delete(one.name.clone())),
        SnapshotCommand::List { cluster } => (cluster, SnapshotOrder::List),
    };
    let cluster = context.cluster(cluster.as_ref())?;
    let summary = match &order {
        SnapshotOrder::Save(name) => Some(format!(
            "Kept {cluster} as {name}. `lkc-host snapshot restore {name}` brings it back."
        )),
        SnapshotOrder::Restore(name) => Some(format!(
            "{cluster} is as it was at {name}. `lkc-host wait` waits until its link is back."
        )),
        SnapshotOrder::Delete(name) => Some(format!("Forgot {name} of {cluster}.")),
        SnapshotOrder::List => None,
    };
    let request = Request::Snapshot {
        cluster: cluster.clone(),
        order,
    };
    let asked = tokio::time::timeout(TIMEOUT, ask(context, request)).await;
    let snapshots = asked.unwrap_or_else(|_| {
        let message = format!("the daemon says nothing for {} s", TIMEOUT.as_secs());
        Err(CommandError::new(Kind::Timeout, message)
            .hint("`lkc-host daemon log` has its last words"))
    })?;
    let output = context.output;
    match summary {
        _ if output.is_json() => output.json(&snapshots)?,
        Some(summary) => output.summary(&summary)?,
        None if snapshots.is_empty() => output.talk(&format!("cluster {cluster} has no snapshots")),
        None => output.result(&snapshot_table(&snapshots, output.paint()))?,
    }
    Ok(End::Done)
}

async fn ask(context: &Context<'_>, request: Request) -> Result<Vec<Snapshot>, CommandError> {
    let mut conversation = Conversation::start(context, request).await?;
    let mut found = Vec::new();
    loop {
        match conversation.next().await? {
            Reply::Snapshots { snapshots } => found = snapshots,
            Reply::Done(_) => return Ok(found),
            _ => {}
        }
    }
}
