//! The agent's side: each request on a connection of its own.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    message::Request,
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    message::{ApiReady, Confirm, EnsureK3s, Refused, StopK3s},
    wire,
};
use crate::{
    k3s::{K3sError, Request as K3sRequest},
    network::change::Request as NetworkRequest,
};

/// Longest wait for an answer: a change of the network that is tried may take ten minutes, and its
/// way back some seconds.
const PATIENCE: Duration = Duration::from_secs(630);

/// Where the steward is.
#[derive(Debug, Clone)]
pub struct Steward {
    directory: PathBuf,
    /// Counts beginnings and ends of what it is asked: a steward that rests is followed again then.
    asked: watch::Sender<u64>,
}

/// Whoever is in the same place is the same.
impl PartialEq for Steward {
    fn eq(&self, other: &Self) -> bool {
        self.directory == other.directory
    }
}

impl Eq for Steward {}

impl Steward {
    /// The one whose sockets are in `directory`.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            asked: watch::Sender::new(0),
        }
    }

    /// Has it do something.
    ///
    /// # Errors
    /// What it says, or that it does not answer.
    pub(crate) async fn ask<R: Request>(&self, request: &R) -> Result<R::Answer, Refusal> {
        let asking = async {
            let mut stream = self.connect().await?;
            answer::<R>(&mut stream, request).await
        };
        self.asked.send_modify(|count| *count += 1);
        let answered = timeout(PATIENCE, asking).await;
        self.asked.send_modify(|count| *count += 1);
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(silent(&error)),
            Err(_) => Err(silent(&io::ErrorKind::TimedOut.into())),
        }
    }

    /// Changes with everything that it is asked.
    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    pub(super) async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.directory.join("steward.sock")).await
    }

    /// A process that will run one program.
    ///
    /// # Errors
    /// There is none to be had.
    pub(crate) async fn executor(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.directory.join("exec.sock")).await
    }
}

/// Sends a request and reads its answer.
pub(super) async fn answer<R: Request>(
    stream: &mut UnixStream,
    request: &R,
) -> io::Result<Result<R::Answer, Refusal>> {
    wire::send(stream, request).await?;
    let message = wire::read(stream).await?;
    let message = message.ok_or(io::ErrorKind::UnexpectedEof)?;
    match message.decode::<Refused>() {
        Ok(refused) => Ok(Err(refused.into())),
        Err(_) => message.decode().map(Ok).map_err(wire::malformed),
    }
}

pub(super) fn silent(error: &io::Error) -> Refusal {
    let text = format!(
        "lkc-steward, which does for the agent what needs root, does not answer: {error}; \
         see `systemctl status lkc-steward` in the guest"
    );
    Refusal::new(RefusalCode::Failed, text)
}

/// Passes on what hosts ask of the network, one request after the other, until the token is
/// cancelled.
pub(crate) async fn keep_network(
    steward: Steward,
    mut requests: mpsc::Receiver<NetworkRequest>,
    cancel: CancellationToken,
) {
    let keep = async {
        while let Some(request) = requests.recv().await {
            pass_on(&steward, request).await;
        }
    };
    cancel.run_until_cancelled(keep).await;
}

async fn pass_on(steward: &Steward, request: NetworkRequest) {
    // Whoever asked may have gone.
    match request {
        NetworkRequest::Apply(wanted, reply) => {
            let _ = reply.send(steward.ask(&wanted).await);
        }
        NetworkRequest::Try(wanted, reply) => {
            let _ = reply.send(steward.ask(&wanted).await);
        }
        NetworkRequest::Confirm(wanted, link_since, reply) => {
            let link_since_ms = u64::try_from(link_since.0.as_millis()).unwrap_or(u64::MAX);
            let asked = Confirm {
                wanted,
                link_since_ms,
            };
            let done = steward.ask(&asked).await;
            let _ = reply.send(done.map(drop));
        }
        NetworkRequest::RollBack(id, reply) => {
            let asked = lkc_protocol::message::RollBackNetwork { id: id.0 };
            let _ = reply.send(steward.ask(&asked).await.map(drop));
        }
        NetworkRequest::Status(reply) => {
            let asked = lkc_protocol::message::NetworkStatus {};
            let _ = reply.send(steward.ask(&asked).await);
        }
    }
}

/// Passes on what is asked of k3s, until the token is cancelled.
pub(crate) async fn control_k3s(
    steward: Steward,
    mut requests: mpsc::Receiver<K3sRequest>,
    cancel: CancellationToken,
) {
    let control = async {
        while let Some(request) = requests.recv().await {
            match request {
                K3sRequest::Configure { dropin, answer } => {
                    let done = steward.ask(dropin.asked()).await;
                    let _ = answer.send(done.map_err(K3sError::Steward));
                }
                K3sRequest::Ensure { role, answer } => {
                    let done = steward.ask(&EnsureK3s { role }).await;
                    let started = done.map(|ensured| ensured.started);
                    let _ = answer.send(started.map_err(K3sError::Steward));
                }
                K3sRequest::Stop { grace, answer } => {
                    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
                    let done = steward.ask(&StopK3s { grace_ms }).await;
                    let _ = answer.send(done.map(drop).map_err(K3sError::Steward));
                }
                K3sRequest::ApiReady => {
                    if let Err(refusal) = steward.ask(&ApiReady {}).await {
                        tracing::warn!(%refusal, "the steward is not told that the API is ready");
                    }
                }
            }
        }
    };
    cancel.run_until_cancelled(control).await;
}
