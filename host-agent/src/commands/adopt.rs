//! `lkc-host adopt`.

use serde_json::json;

use super::{End, context::Context, doctor};
use crate::{
    carrier::Route,
    cli::Adopt,
    config::ClusterName,
    daemon,
    error::{CommandError, Kind},
};

pub(super) async fn run(context: &Context<'_>, args: &Adopt) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let routes = routes(context, args, &cluster)?;
    let output = context.output;
    // The terminal is read on a thread of its own, so that Ctrl-C is heard.
    let asking = output.clone();
    let token = tokio::task::spawn_blocking(move || {
        asking.line("Token of the guest, as `lkc-guest token` prints it there:")
    });
    let token = token
        .await
        .map_err(|error| CommandError::new(Kind::Bug, error))?
        .map_err(|error| {
            CommandError::new(Kind::HostIo, format!("cannot read the token: {error}"))
        })?;
    let token = token
        .parse()
        .map_err(|error: lkc_protocol::enrolment::NotAToken| {
            CommandError::new(Kind::BadInput, error.to_string())
                .hint("run `lkc-guest token` in the machine and give what it prints")
        })?;
    let guest = daemon::adopt(&context.paths, &cluster, &routes, &token).await?;
    if output.is_json() {
        let fingerprint = guest.fingerprint();
        output.json(
            &json!({ "cluster": cluster, "guest": { "key": guest, "fingerprint": fingerprint } }),
        )?;
    } else {
        output.summary(&format!(
            "Cluster {cluster} is adopted: its guest has the key {} and lets this host in.\n\
             Bring it up with `lkc-host up {cluster}`.",
            guest.fingerprint()
        ))?;
    }
    Ok(End::Done)
}

/// What was named, else what the configuration says of a machine that is there already.
fn routes(
    context: &Context<'_>,
    args: &Adopt,
    cluster: &ClusterName,
) -> Result<Vec<Route>, CommandError> {
    let configured = doctor::configured(context, cluster).map(|way| way.map(|(routes, _)| routes));
    if args.carrier.is_empty() {
        return configured?.ok_or_else(|| no_carrier(cluster));
    }
    // How SSH is spoken stands in the configuration, also for carriers that do not.
    let ssh = configured
        .ok()
        .flatten()
        .and_then(|routes| Some(routes.first()?.ssh.clone()));
    let ssh = ssh.unwrap_or_default();
    let named = args.carrier.iter().map(|carrier| Route {
        via: args.via.clone(),
        carrier: carrier.clone(),
        ssh: ssh.clone(),
    });
    Ok(named.collect())
}

pub(super) fn no_carrier(cluster: &ClusterName) -> CommandError {
    CommandError::new(
        Kind::Usage,
        format!("no carrier is named that leads to a machine of {cluster}"),
    )
    .hint(format!(
        "name it with `--carrier`, or as `carriers` of [cluster.{cluster}] in lkc.toml; what lkc makes by itself needs \
         no adoption"
    ))
}
