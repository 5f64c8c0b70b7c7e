//! `lkc-host delete`.

use super::{
    End,
    context::Context,
    down::{chosen, outcome},
    follow::finish,
};
use crate::{
    cli::Delete,
    config::ClusterName,
    control::{Done, Request},
    daemon,
    error::{CommandError, Kind},
};

pub(super) async fn run(context: &Context<'_>, args: &Delete) -> Result<End, CommandError> {
    let clusters = chosen(context, &args.which)?;
    if !clusters.is_empty() && !args.yes && !is_agreed(context, &clusters).await? {
        context.output.talk("nothing was deleted");
        return Ok(End::Exit(Kind::Other.exit_code()));
    }
    let mut deleted = Vec::new();
    for cluster in clusters {
        let request = Request::Delete {
            cluster: cluster.clone(),
        };
        let done = match finish(context, request, args.timeout).await {
            // It has keys and was never up, so the daemon does not know it.
            Err(error)
                if error.kind == Kind::NotFound && context.known_clusters()?.contains(&cluster) =>
            {
                daemon::forget(&context.paths, &cluster)?;
                Done {
                    changed: true,
                    elapsed_ms: 0,
                }
            }
            done => done?,
        };
        context.output.summary(&format!(
            "Cluster {cluster} is deleted, with its data and its kubeconfig."
        ))?;
        deleted.push(outcome(&cluster, &done));
    }
    if context.output.is_json() {
        context.output.json(&deleted)?;
    }
    Ok(End::Done)
}

async fn is_agreed(context: &Context<'_>, clusters: &[ClusterName]) -> Result<bool, CommandError> {
    let names: Vec<_> = clusters.iter().map(ClusterName::as_str).collect();
    let (names, output) = (names.join(", "), context.output.clone());
    let question = format!("Delete {names} with everything in it?");
    // The terminal is read on a thread of its own, so that Ctrl-C is heard.
    let answer = tokio::task::spawn_blocking(move || output.ask(&question)).await;
    match answer {
        Ok(Some(agreed)) => Ok(agreed),
        Ok(None) => Err(nobody_to_ask(&names)),
        Err(error) => Err(CommandError::new(Kind::Bug, error)),
    }
}

pub(super) fn nobody_to_ask(names: &str) -> CommandError {
    let message = format!("{names} is to be deleted, and there is no terminal to ask on");
    CommandError::new(Kind::Usage, message).hint("add `--yes`")
}
