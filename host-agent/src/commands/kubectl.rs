//! `lkc-host kubectl`.

use std::{io, os::unix::process::CommandExt, process::Command};

use super::{End, context::Context, kubeconfig::existing, status};
use crate::{
    cli::Kubectl,
    config::ClusterName,
    control::Phase,
    error::{CommandError, Kind},
};

/// Becomes kubectl. The daemon is asked first, which starts it and with it the forwards that
/// kubectl is going to use.
pub(super) async fn run(context: &Context<'_>, args: &Kubectl) -> Result<End, CommandError> {
    let cluster = context.cluster(args.cluster.as_ref())?;
    let status = status::one(context, &cluster).await?;
    if status.phase == Phase::Down {
        return Err(down(&cluster));
    }
    let kubeconfig = existing(context, &cluster)?;
    let error = Command::new("kubectl")
        .args(&args.args)
        .env("KUBECONFIG", kubeconfig)
        .exec();
    Err(not_started(error))
}

pub(super) fn down(cluster: &ClusterName) -> CommandError {
    CommandError::new(Kind::Unreachable, format!("cluster {cluster} is down"))
        .hint(format!("bring it up with `lkc-host up {cluster}`"))
}

pub(super) fn not_started(error: io::Error) -> CommandError {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let failed = CommandError::new(Kind::HostIo, error);
    if missing {
        failed
            .context("there is no `kubectl` on PATH")
            .hint("install it: https://kubernetes.io/docs/tasks/tools/")
            .hint("or use what you have: export KUBECONFIG=$(lkc-host kubeconfig --path)")
    } else {
        failed.context("kubectl cannot be started")
    }
}
