//! Enrolling a host with a guest that neither knows the other's key.

use std::{sync::Arc, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{ConnectError, Encrypt, LinkOptions, RequestError, establish::connect_to_unknown};
use crate::{
    enrolment::Token,
    handshake::HandshakeError,
    identity::{IdentityError, PublicKey},
    message::Enrol,
};

/// Time that the guest has to write down whom it lets in.
const ANSWER: Duration = Duration::from_secs(10);

/// Why a host was not enrolled.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The guest does not know the token.
    #[error(
        "the guest does not accept this token: it is used up, has expired, or is another guest's"
    )]
    TokenRefused,
    /// Whoever answered does not know the token: it is not the guest that the token is of.
    #[error("what answered, with the key {}, does not know the token: it is not the guest", found.fingerprint())]
    NotTheGuest {
        /// The key that it has shown.
        found: PublicKey,
    },
    /// No link.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No answer.
    #[error("the guest did not enrol this host: {0}")]
    Request(#[from] RequestError),
    /// The guest said nothing for too long.
    #[error("the guest did not answer within {} s", ANSWER.as_secs())]
    Timeout,
    /// The token is of no use.
    #[error("the token cannot be used")]
    Token(#[from] IdentityError),
}

/// Has the guest behind `carrier` let in `options.identity` from now on, by a token that was made
/// there, and gives the guest's key. The carrier is used up; connect again with the key.
///
/// # Errors
/// See [`EnrolError`]. After `NotTheGuest` nothing of what was said is to be believed.
pub async fn enrol<C>(
    carrier: C,
    token: &Token,
    options: &LinkOptions,
) -> Result<PublicKey, EnrolError>
where
    C: AsyncRead + AsyncWrite + Unpin,
{
    let identity = Arc::new(token.identity()?);
    // What vouches for the guest comes late, so nothing before it is left unencrypted.
    let options_once = LinkOptions {
        encrypt: Encrypt::Always,
        ..options.clone()
    };
    let connected = connect_to_unknown(carrier, &identity, &options_once).await;
    let (link, _incoming, driver) = connected.map_err(|error| match error {
        ConnectError::Handshake {
            source: HandshakeError::KeyRefused { .. },
            ..
        } => EnrolError::TokenRefused,
        other => EnrolError::Connect(other),
    })?;
    let request = Enrol {
        key: options.identity.public_key().to_bytes(),
        name: options.node.clone(),
    };
    let ask = async {
        tokio::select! {
            biased;
            answer = link.request(&request) => answer,
            _ = driver.run() => Err(RequestError::LinkDown),
        }
    };
    let (answer, _stream) = timeout(ANSWER, ask)
        .await
        .map_err(|_| EnrolError::Timeout)??;
    let found = link.peer_key();
    if token.is_proved(link.binding(), &answer.proof) {
        Ok(found)
    } else {
        Err(EnrolError::NotTheGuest { found })
    }
}
