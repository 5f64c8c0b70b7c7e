//! `lkc-host doctor`.

use serde_json::json;

use super::{End, context::Context, remembered, status};
use crate::{
    carrier::Route,
    cli::Doctor,
    config::{ClusterName, Driver},
    daemon::{self, CarrierCheck},
    error::{CommandError, Kind},
    output::{carrier_table, wrong_clock},
};

pub(super) async fn run(context: &Context<'_>, args: &Doctor) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let (routes, driver) = ways(context, &cluster).await?;
    let ours = driver != Driver::Existing;
    let checks = daemon::examine(&context.paths, &cluster, &routes, ours).await?;
    let output = context.output;
    if output.is_json() {
        output.json(&json!({ "cluster": cluster, "carriers": checks }))?;
    } else {
        output.result(&carrier_table(&checks, output.paint()))?;
        let skew = checks.iter().find_map(|check| check.clock_skew_ms);
        if let Some(wrong) = skew.and_then(wrong_clock) {
            output.result(&format!("the guest's clock is {wrong}"))?;
        }
    }
    Ok(verdict(&checks))
}

/// Carriers, and who made the machine.
pub(super) type Way = (Vec<Route>, Driver);

/// The carriers of a cluster, running or not.
pub(super) async fn ways(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<Way, CommandError> {
    match running(context, cluster).await? {
        Some(found) => Ok(found),
        None => configured(context, cluster)?.ok_or_else(|| down(cluster)),
    }
}

/// The carriers of a machine that runs, as its driver says; none of others.
async fn running(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<Option<Way>, CommandError> {
    if !context.known_clusters()?.contains(cluster) {
        return Ok(None);
    }
    let status = match status::one(context, cluster).await {
        // It has keys and was never up.
        Err(error) if error.kind == Kind::NotFound => return Ok(None),
        status => status?,
    };
    let way = (status.link.carriers, status.machine.driver);
    Ok(Some(way).filter(|(carriers, _)| !carriers.is_empty()))
}

/// What the configuration says of a machine that is there already, connected or not; none of one that
/// lkc makes.
pub(super) fn configured(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<Option<Way>, CommandError> {
    let spec = match remembered::read(context, cluster)? {
        Some(spec) => spec,
        None => context.config()?.cluster(Some(cluster))?.0.clone(),
    };
    let reach = spec.reach.as_ref();
    Ok(reach.map(|reach| (reach.carriers.clone(), spec.driver)))
}

pub(super) fn down(cluster: &ClusterName) -> CommandError {
    CommandError::new(
        Kind::Unreachable,
        format!("cluster {cluster} is down, so that there is nothing to reach"),
    )
    .hint(format!("bring it up with `lkc-host up {cluster}`"))
}

/// One carrier that leads to a link is enough; else the exit code of the failure that tells most.
fn verdict(checks: &[CarrierCheck]) -> End {
    if checks.iter().any(|check| check.failed.is_none()) {
        return End::Done;
    }
    let kinds = checks.iter().filter_map(|check| check.failure.as_ref());
    let kind = kinds
        .map(|failure| failure.kind)
        .find(|&kind| kind != Kind::Unreachable)
        .unwrap_or(Kind::Unreachable);
    End::Exit(kind.exit_code())
}
