//! `lkc-host forward check`.

use std::time::Duration;

use super::{
    super::{End, context::Context, conversation::Conversation},
    meant,
};
use crate::{
    config::ClusterName,
    control::{ForwardCheck, Reply, Request},
    error::{CommandError, Kind},
    output::check_table,
};

/// All forwards are tried at once; the daemon keeps the time of each, and this is for its silence.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(super) async fn run(
    context: &Context<'_>,
    cluster: ClusterName,
    forwards: &[String],
) -> Result<End, CommandError> {
    let request = Request::CheckForwards {
        cluster: cluster.clone(),
        forwards: forwards.iter().map(|text| meant(context, text)).collect(),
    };
    let asked = tokio::time::timeout(TIMEOUT, ask(context, request)).await;
    let checks = asked.unwrap_or_else(|_| {
        let message = format!("the daemon says nothing for {} s", TIMEOUT.as_secs());
        Err(CommandError::new(Kind::Timeout, message)
            .hint("`lkc-host daemon log` has its last words"))
    })?;
    let output = context.output;
    if output.is_json() {
        output.json(&checks)?;
    } else if checks.is_empty() {
        output.talk(&format!("cluster {cluster} has no forwards that listen"));
    } else {
        output.result(&check_table(&checks, output.paint()))?;
    }
    let broken = checks.iter().filter(|check| !check.ok).count();
    if broken == 0 {
        Ok(End::Done)
    } else {
        Ok(End::Exit(Kind::Unreachable.exit_code()))
    }
}

async fn ask(context: &Context<'_>, request: Request) -> Result<Vec<ForwardCheck>, CommandError> {
    let mut conversation = Conversation::start(context, request).await?;
    let mut checks = Vec::new();
    loop {
        match conversation.next().await? {
            Reply::Checked(check) => checks.push(check),
            Reply::Done(_) => return Ok(checks),
            _ => {}
        }
    }
}
