//! `lkc-host forward`.

mod check;

use std::{net::IpAddr, path::Path, time::Duration};

use super::{End, context::Context, follow::finish, status};
use crate::{
    cli::{ClusterOrForward, Forward, ForwardArg, ForwardCommand},
    config::{ClusterName, ForwardSpec},
    control::Request,
    error::{CommandError, Kind},
    output::{forward_list, forward_table, reverse_table},
};

/// Binding a port is a matter of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn run(context: &Context<'_>, args: &Forward) -> Result<End, CommandError> {
    let cluster = match &args.command {
        None => {
            let cluster = add(context, &args.items, args.cluster.as_ref(), args.bind).await?;
            remove(context, &cluster, &args.remove).await?;
            cluster
        }
        Some(ForwardCommand::Ls(ls)) => context.cluster(ls.which.cluster.as_ref())?,
        Some(ForwardCommand::Add(args)) => {
            add(context, &args.items, args.cluster.as_ref(), args.bind).await?
        }
        Some(ForwardCommand::Rm(args)) => {
            let cluster = context.cluster(args.cluster.as_ref())?;
            remove(context, &cluster, &args.forwards).await?;
            cluster
        }
        Some(ForwardCommand::Check(args)) => {
            let cluster = context.cluster(args.cluster.as_ref())?;
            return check::run(context, cluster, &args.forwards).await;
        }
    };
    list(context, &cluster).await
}

/// Adds the forwards among `items` to the cluster that is named there or by the option.
async fn add(
    context: &Context<'_>,
    items: &[ClusterOrForward],
    named: Option<&ClusterName>,
    bind: Option<IpAddr>,
) -> Result<ClusterName, CommandError> {
    let (named, forwards) = split(items, named)?;
    let cluster = context.cluster(named.as_ref())?;
    for forward in forwards {
        let forward = forward
            .to_spec(bind, |path| context.resolve(path))
            .map_err(|error| CommandError::new(Kind::Usage, error))?;
        if let Some(open) = forward.bind.iter().find(|address| !address.is_loopback()) {
            context.output.warn(&open_to_others(&forward.name, *open));
        }
        let request = Request::AddForward {
            cluster: cluster.clone(),
            forward,
        };
        finish(context, request, TIMEOUT).await?;
    }
    Ok(cluster)
}

async fn remove(
    context: &Context<'_>,
    cluster: &ClusterName,
    forwards: &[String],
) -> Result<(), CommandError> {
    for forward in forwards {
        let request = Request::RemoveForward {
            cluster: cluster.clone(),
            forward: meant(context, forward),
        };
        finish(context, request, TIMEOUT).await?;
    }
    Ok(())
}

/// A name, a port or a place, the path of a socket made absolute.
fn meant(context: &Context<'_>, text: &str) -> String {
    match text.strip_prefix(ForwardSpec::UNIX) {
        Some(path) => {
            let path = context.resolve(Path::new(path));
            format!("{}{}", ForwardSpec::UNIX, path.display())
        }
        None => text.to_owned(),
    }
}

async fn list(context: &Context<'_>, cluster: &ClusterName) -> Result<End, CommandError> {
    let status = status::one(context, cluster).await?;
    let output = context.output;
    if output.is_json() {
        let list = forward_list(&status).map_err(|error| CommandError::new(Kind::Bug, error))?;
        output.json(&list)?;
    } else if status.forwards.is_empty() && status.reverse.is_empty() {
        output.talk(&format!("cluster {cluster} has no forwards now"));
    } else {
        let mut tables = Vec::new();
        if !status.forwards.is_empty() {
            tables.push(forward_table(&status.forwards, output.paint()));
        }
        if !status.reverse.is_empty() {
            tables.push(reverse_table(&status.reverse, output.paint()));
        }
        output.result(&tables.join("\n"))?;
    }
    Ok(End::Done)
}

fn split<'a>(
    items: &'a [ClusterOrForward],
    named: Option<&ClusterName>,
) -> Result<(Option<ClusterName>, Vec<&'a ForwardArg>), CommandError> {
    let (mut named, mut forwards) = (named.cloned(), Vec::new());
    for item in items {
        match item {
            ClusterOrForward::Forward(forward) => forwards.push(forward),
            ClusterOrForward::Cluster(name) => match &named {
                Some(other) if other != name => {
                    let message = format!("two clusters are named: {other} and {name}");
                    return Err(CommandError::new(Kind::Usage, message)
                        .hint("a forward begins with a port: 5432, 15432:5432, db=15432:5432"));
                }
                _ => named = Some(name.clone()),
            },
        }
    }
    Ok((named, forwards))
}

fn open_to_others(name: &str, address: IpAddr) -> String {
    format!(
        "the forward {name} listens on {address}: everyone who reaches that address reaches the cluster"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(line: &str) -> Forward {
        match Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .command
        {
            Command::Forward(forward) => forward,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_cluster_may_stand_anywhere_but_only_once() {
        let args = parse("lkc-host forward 80 k3s-capi 81:82 --cluster k3s-capi");
        let (named, forwards) = split(&args.items, args.cluster.as_ref()).unwrap();
        assert_eq!(named.unwrap().as_str(), "k3s-capi");
        assert_eq!(forwards.len(), 2);
        let args = parse("lkc-host forward a b");
        let error = split(&args.items, args.cluster.as_ref()).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        insta::assert_snapshot!(error, @"two clusters are named: a and b");
    }

    #[test]
    fn what_is_done_may_be_said_or_not() {
        let said = |line: &str| parse(line).command.map(|command| format!("{command:?}"));
        assert_eq!(said("lkc-host forward"), None);
        assert_eq!(said("lkc-host forward k3s-capi 80"), None);
        assert_eq!(said("lkc-host forward --remove 80"), None);
        for (line, begins) in [
            ("lkc-host forward ls k3s-capi", "Ls"),
            ("lkc-host forward add k3s-capi 80 53/udp", "Add"),
            ("lkc-host forward rm 80 unix:db.sock", "Rm"),
            ("lkc-host forward check", "Check"),
        ] {
            let command = said(line).unwrap();
            assert!(command.starts_with(begins), "{command}");
        }
    }

    #[test]
    fn open_forwards_are_warned_of() {
        insta::assert_snapshot!(open_to_others("db", IpAddr::from([0, 0, 0, 0])), @"the forward db listens on 0.0.0.0: everyone who reaches that address reaches the cluster");
    }
}
