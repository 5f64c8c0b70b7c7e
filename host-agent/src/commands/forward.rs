//! `lkc-host forward`.

use std::{net::IpAddr, time::Duration};

use super::{End, context::Context, follow::finish, status};
use crate::{
    cli::{ClusterOrForward, Forward, ForwardArg},
    config::ClusterName,
    control::Request,
    error::{CommandError, Kind},
    output::{forward_list, forward_table, reverse_table},
};

/// Binding a port is a matter of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn run(context: &Context<'_>, args: &Forward) -> Result<End, CommandError> {
    let (named, forwards) = split(args)?;
    let cluster = context.cluster(named.as_ref())?;
    for forward in forwards {
        let forward = forward.to_spec(args.bind);
        if let Some(open) = forward.bind.iter().find(|address| !address.is_loopback()) {
            context.output.warn(&open_to_others(&forward.name, *open));
        }
        finish(
            context,
            Request::AddForward {
                cluster: cluster.clone(),
                forward,
            },
            TIMEOUT,
        )
        .await?;
    }
    for forward in &args.remove {
        let request = Request::RemoveForward {
            cluster: cluster.clone(),
            forward: forward.clone(),
        };
        finish(context, request, TIMEOUT).await?;
    }
    let status = status::one(context, &cluster).await?;
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

fn split(args: &Forward) -> Result<(Option<ClusterName>, Vec<&ForwardArg>), CommandError> {
    let (mut named, mut forwards) = (args.cluster.clone(), Vec::new());
    for item in &args.items {
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
        let (named, forwards) = split(&args).unwrap();
        assert_eq!(named.unwrap().as_str(), "k3s-capi");
        assert_eq!(forwards.len(), 2);
        let error = split(&parse("lkc-host forward a b")).unwrap_err();
        assert_eq!(error.kind, Kind::Usage);
        insta::assert_snapshot!(error, @"two clusters are named: a and b");
    }

    #[test]
    fn open_forwards_are_warned_of() {
        insta::assert_snapshot!(open_to_others("db", IpAddr::from([0, 0, 0, 0])), @"the forward db listens on 0.0.0.0: everyone who reaches that address reaches the cluster");
    }
}
