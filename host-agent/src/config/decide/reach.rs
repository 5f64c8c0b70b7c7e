//! How a machine that is there already is reached.

use std::{fmt::Display, path::PathBuf};

use crate::{
    carrier::{Carrier, Hop, Route, check_hops, ssh::Options},
    config::{
        cluster::{Driver, Reach},
        draft::{Draft, DraftSsh},
        place::Placed,
        problem::Problem,
    },
};

/// Who names a carrier means a machine that is there already.
pub(super) fn usual_driver(draft: &Draft) -> Option<Driver> {
    (!draft.reach.carriers.is_empty()).then_some(Driver::Existing)
}

pub(super) fn decide(draft: &Draft, driver: Driver) -> Result<Option<Reach>, Problem> {
    let said = &draft.reach;
    if driver != Driver::Existing {
        return match said.first_place() {
            None => Ok(None),
            Some(place) => Err(Problem::at(
                place,
                format!("the driver {driver} knows itself how its machine is reached"),
            )
            .help("write driver = \"existing\" for a machine that is there already")),
        };
    }
    if said.carriers.is_empty() {
        return Err(Problem::at(
            &draft.name.place,
            "the driver existing needs a carrier to reach the machine over",
        )
        .help("name one or several: --carrier tcp:10.0.0.2:7000, or carriers = [\"…\"]"));
    }
    let via: Vec<Hop> = said.via.iter().map(read).collect::<Result<_, _>>()?;
    let ssh = ssh_options(&said.ssh)?;
    let carriers = said
        .carriers
        .iter()
        .map(|carrier| {
            let route = Route {
                via: via.clone(),
                carrier: read::<Carrier>(carrier)?,
                ssh: ssh.clone(),
            };
            match check_hops(&route.via, &route.carrier) {
                Ok(()) => Ok(route),
                Err(why) => Err(Problem::at(&carrier.place, why)),
            }
        })
        .collect::<Result<_, Problem>>()?;
    let guest_key = said.guest_key.as_ref().map(read).transpose()?;
    Ok(Some(Reach {
        carriers,
        guest_key,
    }))
}

fn ssh_options(said: &DraftSsh) -> Result<Options, Problem> {
    let socket = said.socket.as_ref().map(|socket| {
        if socket.value.starts_with('/') {
            Ok(PathBuf::from(&socket.value))
        } else {
            let problem = format!("`{}` is no absolute path", socket.value);
            Err(Problem::at(&socket.place, problem))
        }
    });
    Ok(Options {
        config: said.config.clone(),
        known_hosts: None,
        accept_new: said.accept_new,
        pinned: said.host_keys.iter().map(read).collect::<Result<_, _>>()?,
        socket: socket.transpose()?,
        command: said.command.as_ref().map(|command| command.value.clone()),
    })
}

fn read<T: std::str::FromStr<Err: Display>>(said: &Placed<String>) -> Result<T, Problem> {
    said.value
        .parse()
        .map_err(|error: T::Err| Problem::at(&said.place, error.to_string()))
}
