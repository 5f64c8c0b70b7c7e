//! Our tunnel: two processes joined by a carrier.

use std::{net::SocketAddr, path::Path};

use lkc_protocol::identity::Identity;

use crate::{
    Failure,
    children::Child,
    tunnel::{Carrier, GuestOrder, HostOrder},
};

/// Which carrier and what is on it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Unix,
    UnixStreams,
    UnixEncrypted,
    Tcp,
}

pub(super) fn start(
    form: Form,
    build: Option<&Path>,
    target: SocketAddr,
    directory: &Path,
) -> Result<(SocketAddr, Vec<Child>), Failure> {
    let encrypt = !matches!(form, Form::Unix | Form::UnixStreams);
    let (host, guest) = (identity()?, identity()?);
    let wanted = match form {
        Form::Unix | Form::UnixStreams | Form::UnixEncrypted => {
            Carrier::Unix(directory.join("carrier.sock"))
        }
        Form::Tcp => Carrier::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
    };
    let order = GuestOrder {
        identity: guest.to_pem(),
        host_key: host.public_key().to_string(),
        carrier: wanted.clone(),
        encrypt,
    };
    let (guest_end, listening) = match build {
        Some(program) => Child::of_build(program, "tunnel-guest", &order)?,
        None => Child::ours("tunnel-guest", &order)?,
    };
    let carrier = match wanted {
        Carrier::Unix(path) => Carrier::Unix(path),
        Carrier::Tcp(_) => Carrier::Tcp(address(&listening)?),
    };
    let order = HostOrder {
        identity: host.to_pem(),
        guest_key: guest.public_key().to_string(),
        carrier,
        encrypt,
        handover: matches!(form, Form::Unix),
        target,
    };
    let (host_end, forwarding) = match build {
        Some(program) => Child::of_build(program, "tunnel-host", &order)?,
        None => Child::ours("tunnel-host", &order)?,
    };
    Ok((address(&forwarding)?, vec![host_end, guest_end]))
}

fn identity() -> Result<Identity, Failure> {
    Identity::generate().map_err(|error| Failure::Candidate(error.to_string()))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Failure> {
    let parsed = text.parse();
    parsed.map_err(|_| Failure::Candidate(format!("`{text}` is no address")))
}
