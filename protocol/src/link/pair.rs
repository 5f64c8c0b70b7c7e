//! Both ends of a link in one process with a pipe between them, for the tests of whoever uses links.

use std::{error::Error, sync::Arc};

use tokio::{io::duplex, task::JoinSet};

use super::{Encrypt, Incoming, Link, LinkOptions, Locality, accept, connect};
use crate::{identity::Identity, session::Limits};

/// Bytes that are on their way at once.
const PIPE: usize = 64 * 1024;

/// A link that stands.
#[derive(Debug)]
pub struct Pair {
    /// The host's end and what the guest asks of it.
    pub host: (Link, Incoming),
    /// The guest's end and what the host asks of it.
    pub guest: (Link, Incoming),
    /// What moves the bytes, until the link ends.
    pub drivers: JoinSet<()>,
}

/// Links two ends that are strangers to every other one.
///
/// # Errors
/// When there is no randomness, or the ends do not come together.
pub async fn pair() -> Result<Pair, Box<dyn Error + Send + Sync>> {
    let (near, far) = duplex(PIPE);
    let (host, guest) = (options()?, options()?);
    let authorized = [host.identity.public_key()];
    let (connected, accepted) = tokio::join!(
        connect(near, guest.identity.public_key(), &host),
        accept(far, &authorized, &guest),
    );
    let (host, from_guest, host_driver) = connected?;
    let (guest, from_host, guest_driver) = accepted?;
    let mut drivers = JoinSet::new();
    for driver in [host_driver, guest_driver] {
        drivers.spawn(async move {
            driver.run().await;
        });
    }
    Ok(Pair {
        host: (host, from_guest),
        guest: (guest, from_host),
        drivers,
    })
}

fn options() -> Result<LinkOptions, Box<dyn Error + Send + Sync>> {
    Ok(LinkOptions {
        identity: Arc::new(Identity::generate()?),
        version: "0.1.0".to_owned(),
        node: "k3s-dev".to_owned(),
        boot_id: [1; 16],
        encrypt: Encrypt::Auto,
        locality: Locality::Local,
        limits: Limits::default(),
    })
}
