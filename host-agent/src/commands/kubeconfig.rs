//! `lkc-host kubeconfig`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{End, context::Context, own_kubeconfig};
use crate::{
    cli::Kubeconfig,
    config::ClusterName,
    error::{CommandError, Kind},
    kubeconfig::merge::{self, Merged},
};

pub(super) async fn run(context: &Context<'_>, args: &Kubeconfig) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    if args.merge || args.unmerge {
        edit(context, args, &cluster).await?;
    } else {
        show(context, args, &cluster)?;
    }
    Ok(End::Done)
}

/// The cluster's kubeconfig, which is there once its API has answered.
pub(super) fn existing(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<PathBuf, CommandError> {
    let path = context.paths.cluster(cluster).kubeconfig();
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(cluster)),
        Err(error) => Err(unreadable(&path, error)),
    }
}

fn show(
    context: &Context<'_>,
    args: &Kubeconfig,
    cluster: &ClusterName,
) -> Result<(), CommandError> {
    let path = existing(context, cluster)?;
    if !args.path {
        let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, error))?;
        context.output.result(&text)
    } else if context.output.is_json() {
        context
            .output
            .json(&serde_json::json!({ "cluster": cluster, "path": path }))
    } else {
        context.output.result(&path.display().to_string())
    }
}

async fn edit(
    context: &Context<'_>,
    args: &Kubeconfig,
    cluster: &ClusterName,
) -> Result<(), CommandError> {
    let file = merge::user_file(&|name| std::env::var_os(name), &context.paths);
    let merged = if args.merge {
        let entry = own_kubeconfig::read(&existing(context, cluster)?, cluster)?;
        merge::merge(&file, &entry, args.use_context).await?
    } else {
        merge::unmerge(&file, cluster).await?
    };
    for warning in &merged.warnings {
        context.output.warn(warning);
    }
    if context.output.is_json() {
        let answer =
            serde_json::json!({ "cluster": cluster, "path": file, "changed": merged.changed });
        return context.output.json(&answer);
    }
    context
        .output
        .summary(&describe(args.merge, &merged, cluster, &file))
}

fn describe(added: bool, merged: &Merged, cluster: &ClusterName, file: &Path) -> String {
    let file = file.display();
    match (added, merged.changed) {
        (true, true) => {
            format!("{file} has the context {cluster} now: `kubectl --context {cluster} get nodes`")
        }
        (true, false) => format!("{file} has the context {cluster} already; nothing to do."),
        (false, true) => format!("{file} has no context {cluster} any more."),
        (false, false) => format!("{file} has no context {cluster}; nothing to do."),
    }
}

fn unreadable(path: &Path, error: io::Error) -> CommandError {
    CommandError::new(Kind::HostIo, error).context(format!("cannot read {}", path.display()))
}

pub(super) fn missing(cluster: &ClusterName) -> CommandError {
    CommandError::new(
        Kind::NotFound,
        format!("cluster {cluster} has no kubeconfig yet"),
    )
    .hint(format!(
        "bring it up with `lkc-host up {cluster}`, or wait with `lkc-host wait {cluster} --for api`"
    ))
}
