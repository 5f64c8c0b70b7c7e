//! A connection to a target by the shorter of two ways.

use thiserror::Error;
use tokio::net::TcpStream;

use super::{HandoverError, Taker};
use crate::{
    error::RefusalCode,
    link::{Link, RequestError, Stream},
    message::{Dial, DialNetwork, HandOver},
};

/// A connection that the guest has made.
#[derive(Debug)]
pub enum Connection {
    /// Its bytes travel on the link.
    Stream(Stream),
    /// It was handed over.
    Socket(TcpStream),
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// The link or the guest says so.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// What the guest handed over cannot be used.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}

/// Connects to `target` through the guest of `link`: by a handover where `taker` is there for it,
/// by a stream of the link otherwise or where the guest cannot hand over.
///
/// # Errors
/// See [`DialError`]. The answer's deadline is the caller's.
pub async fn dial(
    link: &Link,
    taker: Option<&Taker>,
    target: &Dial,
) -> Result<Connection, DialError> {
    let taker = taker.filter(|taker| taker.is_served() && target.network == DialNetwork::Tcp);
    if let Some(taker) = taker {
        let target = target.clone();
        match link.request(&HandOver { target }).await {
            Ok((answer, stream)) => {
                stream.finish();
                return Ok(Connection::Socket(taker.take(&answer)?));
            }
            Err(RequestError::Refused(refusal)) => match refusal.code {
                RefusalCode::Unsupported => taker.give_up(),
                RefusalCode::Busy => {}
                _ => return Err(RequestError::Refused(refusal).into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    let (_, stream) = link.request(target).await?;
    Ok(Connection::Stream(stream))
}
