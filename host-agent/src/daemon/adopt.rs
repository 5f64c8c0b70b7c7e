//! Makes a host and a guest known to each other by a token. Runs in the command, not in the daemon.

use std::time::Duration;

use lkc_protocol::{
    enrolment::Token,
    identity::PublicKey,
    link::{self, Encrypt, EnrolError, LinkOptions},
    session::Limits,
};
use tokio::time::timeout;

use super::{
    guest_link::{Dialled, Dialling, failure},
    provision,
};
use crate::{
    carrier::{ConnectedCarrier, Route},
    config::ClusterName,
    control::Failure,
    error::Kind,
    paths::Paths,
};

/// Longest time for one carrier, the guest's writing included.
const DEADLINE: Duration = Duration::from_secs(20);

/// Has the guest behind the one of `routes` that connects first let this host in, by a `token` that was
/// made there, and pins the key that it proves.
///
/// # Errors
/// `Unreachable` when none connects, with the last one's reason; `Authentication` when the guest does
/// not know the token, or what answers does not; `HostIo` for files of the cluster.
pub async fn adopt(
    paths: &Paths,
    cluster: &ClusterName,
    routes: &[Route],
    token: &Token,
) -> Result<PublicKey, Failure> {
    let identity = provision::identity(paths, cluster).map_err(|error| error.to_failure())?;
    let (route, connected) = connect(routes, cluster).await?;
    let options = LinkOptions {
        identity,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        boot_id: [0; 16],
        encrypt: Encrypt::Always,
        locality: connected.locality,
        limits: Limits::default(),
    };
    match timeout(DEADLINE, link::enrol(connected.stream, token, &options)).await {
        Ok(Ok(guest)) => {
            let pinned = provision::pin_guest(paths, cluster, guest);
            pinned.map_err(|error| error.to_failure())?;
            Ok(guest)
        }
        Ok(Err(error)) => Err(of_enrol(&error, cluster)),
        Err(_) => Err(too_long(&route)),
    }
}

/// The bytes of the carrier that connects first, the earlier ones with a head start. The token goes
/// over one only.
async fn connect(
    routes: &[Route],
    cluster: &ClusterName,
) -> Result<(Route, ConnectedCarrier), Failure> {
    let dial = |route: Route| -> Dialled<'_, (Route, ConnectedCarrier), Failure> {
        Box::pin(async move {
            match timeout(DEADLINE, route.connect()).await {
                Ok(Ok(connected)) => Ok((route, connected)),
                Ok(Err(error)) => Err(failure::of_examined(&error)),
                Err(_) => Err(too_long(&route)),
            }
        })
    };
    let connected = Dialling::new().round(routes, dial).await;
    connected.map_err(|failures| {
        let last = failures.into_iter().last();
        last.map_or_else(|| unknown(cluster), |(_, failure)| failure)
    })
}

fn unknown(cluster: &ClusterName) -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: format!("no carrier of {cluster} is known"),
        hints: vec!["name one: --carrier tcp:10.0.0.2:7000".to_owned()],
        tail: Vec::new(),
    }
}

fn of_enrol(error: &EnrolError, cluster: &ClusterName) -> Failure {
    let (kind, hint) = match error {
        EnrolError::TokenRefused => (
            Kind::Authentication,
            "run `lkc-guest token` in the machine and type what it prints within ten minutes",
        ),
        EnrolError::NotTheGuest { .. } => (
            Kind::Authentication,
            "something answers in the guest's place: look where the carrier leads, and make a new token",
        ),
        EnrolError::Connect(source) => return failure::of_connect(source, cluster, false),
        EnrolError::Request(_) | EnrolError::Timeout => (
            Kind::Unreachable,
            "look at the log of lkc-guest in the machine; the token is used up, make a new one",
        ),
        EnrolError::Token(_) => (Kind::BadInput, "make a new token in the machine"),
    };
    Failure {
        kind,
        message: error.to_string(),
        hints: vec![hint.to_owned()],
        tail: Vec::new(),
    }
}

fn too_long(route: &Route) -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: format!("{route}: no answer within {} s", DEADLINE.as_secs()),
        hints: Vec::new(),
        tail: Vec::new(),
    }
}
