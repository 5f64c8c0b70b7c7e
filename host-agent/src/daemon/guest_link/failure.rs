//! What a failed attempt means to the user: its kind, its words and what to do.

use lkc_protocol::{
    error::RefusalCode,
    handshake::HandshakeError,
    hello::HelloError,
    link::{ConnectError, RequestError},
    preface::PrefaceError,
};

use crate::{carrier::CarrierError, config::ClusterName, control::Failure, error::Kind};

/// Nobody is there yet.
pub(super) fn waiting() -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: "waiting for the agent".to_owned(),
        hints: Vec::new(),
        tail: Vec::new(),
    }
}

/// No carrier.
pub(super) fn of_carrier(error: &CarrierError) -> Failure {
    if error.is_absent() {
        return waiting();
    }
    Failure {
        kind: error.source.kind(),
        message: format!("{error}: {}", error.source),
        hints: error.source.hints(),
        tail: Vec::new(),
    }
}

/// No carrier, for somebody who asks why.
pub(in super::super) fn of_examined(error: &CarrierError) -> Failure {
    Failure {
        kind: error.source.kind(),
        message: error.source.to_string(),
        hints: error.source.hints(),
        tail: Vec::new(),
    }
}

/// No link over the carrier. `ours` says whether lkc made the machine, and so its keys.
pub(in super::super) fn of_connect(
    error: &ConnectError,
    cluster: &ClusterName,
    ours: bool,
) -> Failure {
    let (kind, hint) = match error {
        ConnectError::Handshake { source, .. } => of_handshake(source, cluster, ours),
        ConnectError::Carrier { .. } | ConnectError::Timeout { .. } => (Kind::Unreachable, None),
    };
    Failure {
        kind,
        message: error.to_string(),
        hints: hint.into_iter().collect(),
        tail: Vec::new(),
    }
}

fn of_handshake(
    error: &HandshakeError,
    cluster: &ClusterName,
    ours: bool,
) -> (Kind, Option<String>) {
    match error {
        HandshakeError::WrongKey { .. } if !ours => (
            Kind::Authentication,
            Some(format!(
                "look whether something else answers in its place; if the guest has a new key, give it with `lkc-host up {cluster} --guest-key KEY`, as `lkc-guest identity` prints it there"
            )),
        ),
        HandshakeError::KeyRefused { ours: key } if !ours => (
            Kind::Authentication,
            Some(format!("add {key} to the guest's list of authorised hosts")),
        ),
        HandshakeError::WrongKey { .. } | HandshakeError::KeyRefused { .. } => (
            Kind::Authentication,
            Some(format!(
                "look whether something else answers in its place; `lkc-host restart {cluster}` gives the machine a new identity"
            )),
        ),
        HandshakeError::Tls(_) | HandshakeError::Unbound => (Kind::Authentication, None),
        HandshakeError::Hello(HelloError::TooOld { .. }) => (Kind::Version, old_guest(cluster)),
        HandshakeError::Preface(PrefaceError::Version { theirs }) if theirs.is_behind() => {
            (Kind::Version, old_guest(cluster))
        }
        HandshakeError::Hello(HelloError::TooNew { .. })
        | HandshakeError::Preface(PrefaceError::Version { .. }) => (
            Kind::Version,
            Some("bring lkc-host up to the version of lkc-guest".to_owned()),
        ),
        HandshakeError::Preface(_) | HandshakeError::NotTls(_) => (
            Kind::Unreachable,
            Some("something other than lkc-guest answers on this carrier".to_owned()),
        ),
        HandshakeError::Hello(_) => (Kind::Version, None),
        HandshakeError::NoRandomness => (Kind::HostIo, None),
    }
}

fn old_guest(cluster: &ClusterName) -> Option<String> {
    Some(format!(
        "bring lkc-guest in the machine of {cluster} up to the version of lkc-host"
    ))
}

/// A request that the guest did not fulfil; none when only the link went down, which is told
/// elsewhere. `what` is the beginning of the sentence: `the network`.
pub(in super::super) fn of_request(
    error: &RequestError,
    what: &str,
    refused: Kind,
) -> Option<Failure> {
    let kind = match error {
        RequestError::LinkDown => return None,
        RequestError::Refused(refusal) => match refusal.code {
            RefusalCode::Unsupported => Kind::Version,
            RefusalCode::Invalid => Kind::BadInput,
            RefusalCode::Timeout => Kind::Timeout,
            _ => refused,
        },
        RequestError::TooManyStreams => Kind::Unreachable,
        RequestError::Answer(_) => Kind::Version,
    };
    Some(Failure {
        kind,
        message: format!("{what}: {error}"),
        hints: Vec::new(),
        tail: Vec::new(),
    })
}
