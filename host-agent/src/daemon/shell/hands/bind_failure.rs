//! Why a forward cannot listen, told to the user.

use std::io::ErrorKind;

use super::super::super::{
    forwarder::{BindError, Place},
    holder,
};
use crate::{config::ForwardSpec, control::Failure, error::Kind};

/// Why `forward` cannot listen, who is in the way, and what to do about it.
pub(super) fn bind_failure(forward: &ForwardSpec, error: &BindError, free: Option<u8>) -> Failure {
    let BindError { place, source } = error;
    let name = &forward.name;
    if !error.is_taken() {
        let hint = match (place, source.kind()) {
            (Place::Socket(_), ErrorKind::NotFound) => {
                "make the directory of the socket: lkc makes none".to_owned()
            }
            (Place::Socket(path), ErrorKind::AlreadyExists) => {
                format!("move {} away, or choose another path", path.display())
            }
            (Place::Socket(_), _) => "choose a directory that you may write to".to_owned(),
            (Place::Address(_), ErrorKind::PermissionDenied) => {
                "choose a port from 1024 up, or let the system allow lower ones".to_owned()
            }
            (Place::Address(_), _) => "look at the addresses that the forward binds".to_owned(),
        };
        return Failure {
            kind: Kind::HostIo,
            message: format!("forward {name} cannot listen on {place}: {source}"),
            hints: vec![hint],
            tail: Vec::new(),
        };
    }
    let by = match place {
        Place::Address(address) => holder::find(forward.protocol, *address).map_or_else(
            || "by a process that we cannot see".to_owned(),
            |holder| format!("by {holder}"),
        ),
        Place::Socket(_) => "by another process".to_owned(),
    };
    let (what, other) = match place {
        Place::Address(address) => (format!("port {}", address.port()), "port"),
        Place::Socket(path) => (format!("socket {}", path.display()), "socket"),
    };
    let move_hint = free.map_or_else(
        || format!("give the forward another {other}, or end the process that has it"),
        |index| format!("set `index = {index}` in lkc.toml, or run `lkc-host up --index {index}`"),
    );
    Failure {
        kind: Kind::Conflict,
        message: format!("{what} of forward {name} is taken {by}"),
        hints: vec![move_hint],
        tail: Vec::new(),
    }
}
