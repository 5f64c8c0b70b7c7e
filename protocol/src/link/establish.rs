//! From a carrier to a link, with a deadline on every step.

use std::{io, sync::Arc, time::Duration};

use bytes::BytesMut;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout_at},
};

use super::{Driver, Incoming, Link, shared};
use crate::{
    handover::Arrival,
    handshake::{Handshake, HandshakeError, Step},
    hello::{Hello, Role},
    identity::{Identity, PublicKey},
    session::Limits,
    version::{CAPABILITY, OLDEST_CAPABILITY},
};

/// Longest time that a step of the handshake may take. A guest under software emulation needs
/// some hundred milliseconds for the cryptography.
pub const STEP_DEADLINE: Duration = Duration::from_secs(5);

/// Bytes read at once during the handshake.
const READ_SIZE: usize = 4096;

/// Whether a link may go on in plain once it is authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encrypt {
    /// In plain where the carrier is local and the other end agrees.
    #[default]
    Auto,
    /// Never in plain.
    Always,
}

/// Whether only the kernel and the hypervisor stand between the ends of a carrier.
#[derive(Debug, Clone)]
pub enum Locality {
    /// Others may see its bytes.
    Remote,
    /// They do.
    Local,
    /// They do if the other end's descriptors arrive: a proxy on the way does not pass them on.
    UnderOneKernel(Arrival),
}

impl Locality {
    /// Whether it can turn out that they do.
    const fn may_be_local(&self) -> bool {
        !matches!(self, Self::Remote)
    }

    /// Whether they do, once the other end has been heard.
    fn is_local(&self) -> bool {
        match self {
            Self::Remote => false,
            Self::Local => true,
            Self::UnderOneKernel(arrival) => arrival.happened(),
        }
    }
}

/// What an end brings to a handshake.
#[derive(Debug, Clone)]
pub struct LinkOptions {
    /// Our key pair.
    pub identity: Arc<Identity>,
    /// Our build version.
    pub version: String,
    /// Our node's or host's name.
    pub node: String,
    /// Identifies this boot of our operating system.
    pub boot_id: [u8; 16],
    /// Whether the link may go on in plain.
    pub encrypt: Encrypt,
    /// Whether only the kernel and the hypervisor stand between the ends of the carrier.
    pub locality: Locality,
    /// What we allow the other end.
    pub limits: Limits,
}

/// Why a carrier did not become a link.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// A rule, a key or a version.
    #[error("{step}: {source}")]
    Handshake {
        /// How far it got.
        step: Step,
        /// What went wrong.
        source: HandshakeError,
    },
    /// The carrier failed or ended.
    #[error("{step}: the carrier failed: {source}")]
    Carrier {
        /// How far it got.
        step: Step,
        /// What it said.
        source: io::Error,
    },
    /// The other end said nothing for too long.
    #[error("{step}: no answer within {} s{}", .after.as_secs(), if noise.is_empty() { String::new() } else { format!(", only `{noise}`") })]
    Timeout {
        /// How far it got.
        step: Step,
        /// For how long.
        after: Duration,
        /// What came instead, escaped.
        noise: String,
    },
}

impl ConnectError {
    /// How far it got.
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::Handshake { step, .. }
            | Self::Carrier { step, .. }
            | Self::Timeout { step, .. } => *step,
        }
    }

    /// Whether nothing at all was heard.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Timeout { step: Step::Preface, noise, .. } if noise.is_empty())
    }
}

/// Authenticates the guest with the key `peer` on a fresh carrier.
///
/// # Errors
/// See [`ConnectError`]. The carrier is dropped.
pub async fn connect<C>(
    carrier: C,
    peer: PublicKey,
    options: &LinkOptions,
) -> Result<(Link, Incoming, Driver<C>), ConnectError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    connect_within(carrier, peer, options, STEP_DEADLINE).await
}

/// The same with a guest that may take `greeting` to answer the preface, which is all that a guest
/// does before it has to calculate.
///
/// # Errors
/// See [`ConnectError`]. The carrier is dropped.
pub async fn connect_within<C>(
    carrier: C,
    peer: PublicKey,
    options: &LinkOptions,
    greeting: Duration,
) -> Result<(Link, Incoming, Driver<C>), ConnectError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let handshake =
        Handshake::host(&options.identity, peer, hello(Role::Host, options)).map_err(|source| {
            ConnectError::Handshake {
                step: Step::Preface,
                source,
            }
        })?;
    establish(carrier, Role::Host, handshake, options, greeting).await
}

/// Connects to whoever answers, as `identity`. The link says with which key it did; the caller
/// believes nothing of it until that key is vouched for.
pub(super) async fn connect_to_unknown<C>(
    carrier: C,
    identity: &Identity,
    options: &LinkOptions,
) -> Result<(Link, Incoming, Driver<C>), ConnectError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = Handshake::host_of_unknown(identity, hello(Role::Host, options));
    let handshake = handshake.map_err(|source| ConnectError::Handshake {
        step: Step::Preface,
        source,
    })?;
    establish(carrier, Role::Host, handshake, options, STEP_DEADLINE).await
}

/// Authenticates a host with one of the `authorized` keys on a fresh carrier.
///
/// # Errors
/// See [`ConnectError`]. The carrier is dropped.
pub async fn accept<C>(
    carrier: C,
    authorized: &[PublicKey],
    options: &LinkOptions,
) -> Result<(Link, Incoming, Driver<C>), ConnectError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = Handshake::guest(&options.identity, authorized, hello(Role::Guest, options))
        .map_err(|source| ConnectError::Handshake {
            step: Step::Preface,
            source,
        })?;
    establish(carrier, Role::Guest, handshake, options, STEP_DEADLINE).await
}

fn hello(role: Role, options: &LinkOptions) -> Hello {
    Hello {
        capability: CAPABILITY,
        oldest_capability: OLDEST_CAPABILITY,
        role,
        plain: options.locality.may_be_local() && options.encrypt == Encrypt::Auto,
        max_frame: u32::try_from(options.limits.max_frame).unwrap_or(u32::MAX),
        max_streams: u32::try_from(options.limits.max_streams).unwrap_or(u32::MAX),
        boot_id: options.boot_id,
        version: options.version.clone(),
        node: options.node.clone(),
    }
}

async fn establish<C>(
    mut carrier: C,
    role: Role,
    mut handshake: Handshake,
    options: &LinkOptions,
    greeting: Duration,
) -> Result<(Link, Incoming, Driver<C>), ConnectError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    let mut step = handshake.step();
    let mut due = Due::after(greeting);
    loop {
        let locality = &options.locality;
        let done = advance(&mut carrier, &mut handshake, &mut buffer, locality, due).await?;
        if done {
            break;
        }
        if handshake.step() != step {
            step = handshake.step();
            due = Due::after(STEP_DEADLINE);
        }
    }
    let established = handshake
        .into_established()
        .map_err(|handshake| ConnectError::Carrier {
            step: handshake.step(),
            source: io::Error::other("the handshake ended early"),
        })?;
    Ok(shared::link(carrier, role, options.limits, established))
}

/// When a step has to be over.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Instant,
    after: Duration,
}

impl Due {
    fn after(after: Duration) -> Self {
        let at = Instant::now() + after;
        Self { at, after }
    }
}

/// Sends what is to be sent, then takes in what comes next.
async fn advance<C>(
    carrier: &mut C,
    handshake: &mut Handshake,
    buffer: &mut BytesMut,
    locality: &Locality,
    due: Due,
) -> Result<bool, ConnectError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let step = handshake.step();
    let on_error = |source| ConnectError::Carrier { step, source };
    let outbound = handshake.take_outbound();
    let exchange = async {
        if !outbound.is_empty() {
            carrier.write_all(&outbound).await?;
            carrier.flush().await?;
        }
        buffer.clear();
        buffer.reserve(READ_SIZE);
        carrier.read_buf(buffer).await
    };
    let count = match timeout_at(due.at, exchange).await {
        Ok(Ok(count)) => count,
        Ok(Err(source)) => return Err(ended(handshake, source)),
        Err(_) => {
            return Err(ConnectError::Timeout {
                step,
                after: due.after,
                noise: handshake.noise(),
            });
        }
    };
    if count == 0 {
        return Err(ended(handshake, io::ErrorKind::UnexpectedEof.into()));
    }
    if !locality.is_local() {
        handshake.stay_encrypted();
    }
    let result = handshake.handle_bytes(buffer);
    if !matches!(result, Ok(false)) {
        // The last word, or the alert that tells the other end why.
        let last = handshake.take_outbound();
        let send = async {
            carrier.write_all(&last).await?;
            carrier.flush().await
        };
        let sent = timeout_at(due.at, send).await;
        if result.is_ok() {
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(on_error(source)),
                Err(_) => {
                    return Err(ConnectError::Timeout {
                        step,
                        after: due.after,
                        noise: handshake.noise(),
                    });
                }
            }
        }
    }
    result.map_err(|source| ConnectError::Handshake {
        step: handshake.step(),
        source,
    })
}

fn ended(handshake: &Handshake, source: io::Error) -> ConnectError {
    let step = handshake.step();
    match handshake.explain_end() {
        Some(source) => ConnectError::Handshake { step, source },
        None => ConnectError::Carrier { step, source },
    }
}
