//! Letting in a host that nobody has named to this guest: a token that `lkc-guest token` prints and
//! the agent waits with, and the hosts that came by one. `PROTOCOL.md §10`.
//!
//! The command and the agent share two files: the token that waits, which goes with the boot, and the
//! hosts, which stay. Both belong to the agent; whoever can write them decides who is let in.

mod hosts;
mod waiting;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use lkc_protocol::{
    enrolment::Token,
    error::{Refusal, RefusalCode},
    identity::PublicKey,
    link::{Driver, Incoming, Link, LinkEnd},
    message::{AnyRequest, Enrol, Enrolled},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use waiting::{Now, Waiting};

/// Longest time that a token waits.
pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How long a link lives on which a host enrols.
const LINK: Duration = Duration::from_secs(20);

/// Where the files are.
#[derive(Debug, Clone, Args)]
pub struct EnrolmentArgs {
    /// Where the hosts are remembered that were let in by a token, and this guest's own key where
    /// nobody gave it one
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lkc")]
    pub state_dir: PathBuf,

    /// Where a token waits for its host
    #[arg(long, value_name = "DIR", default_value = "/run/lkc")]
    pub runtime_dir: PathBuf,
}

/// Who may be let in beside the hosts that this guest was told of.
#[derive(Debug, Clone)]
pub struct Enrolment {
    hosts: PathBuf,
    token: PathBuf,
}

impl Enrolment {
    /// With the files where `args` says.
    #[must_use]
    pub fn new(args: &EnrolmentArgs) -> Self {
        Self {
            hosts: args.state_dir.join("authorized_hosts"),
            token: args.runtime_dir.join("token"),
        }
    }

    /// Makes a token that is good for `lifetime`, [`LONGEST_WAIT`] at most. An earlier one is not
    /// good any more.
    ///
    /// # Errors
    /// There is no randomness, or the file cannot be written.
    pub fn offer(&self, lifetime: Duration) -> io::Result<Token> {
        let token = Token::generate().map_err(io::Error::other)?;
        let until = Now::read()?.after(lifetime.min(LONGEST_WAIT));
        Waiting::new(&token, until).write(&self.token)?;
        Ok(token)
    }

    /// The token that waits, if there is one that is still good.
    #[must_use]
    pub fn waiting(&self) -> Option<Token> {
        let waiting = Waiting::read(&self.token)?;
        Now::read().ok().and_then(|now| waiting.token(&now))
    }

    /// The hosts that came by a token.
    #[must_use]
    pub fn hosts(&self) -> Vec<PublicKey> {
        hosts::read(&self.hosts).unwrap_or_else(|error| {
            tracing::warn!(%error, file = %self.hosts.display(), "the hosts that came by a token are not let in");
            Vec::new()
        })
    }

    /// Lets `host` in from now on, if `token` still waits. The token is used up first: if anything
    /// fails behind it, another one is needed.
    fn enrol(&self, token: &Token, host: PublicKey, name: &str) -> Result<(), Refusal> {
        if self.waiting().as_ref() != Some(token) {
            let text = "the token is used up or has expired";
            return Err(Refusal::new(RefusalCode::Denied, text));
        }
        let done = fs::remove_file(&self.token).and_then(|()| hosts::add(&self.hosts, host, name));
        done.map_err(|error| {
            tracing::error!(%error, "a host could not be let in");
            Refusal::new(
                RefusalCode::Failed,
                format!("the guest cannot write it down: {error}"),
            )
        })
    }
}

/// Gives a new file of the agent's to the agent: root runs its commands too.
pub(crate) fn give_to_owner_of(directory: &Path, file: &File) -> io::Result<()> {
    let owner = fs::metadata(directory)?;
    let file_owner = file.metadata()?;
    if owner.uid() == file_owner.uid() {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid()))
}

/// Serves a host that has shown the key of `token`: lets it in as it asks, and nothing else.
pub async fn serve<C>(
    link: Link,
    mut incoming: Incoming,
    driver: Driver<C>,
    enrolment: &Enrolment,
    token: &Token,
    cancel: CancellationToken,
) -> LinkEnd
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut driving = JoinSet::new();
    driving.spawn(driver.run());
    let requests = async {
        while let Some(request) = incoming.next().await {
            let AnyRequest::Enrol(wanted) = request.request().clone() else {
                let text = "this link only enrols a host: connect again with its own key";
                request.refuse(&Refusal::new(RefusalCode::Denied, text));
                continue;
            };
            let host = PublicKey::from_bytes(wanted.key);
            match enrolment.enrol(token, host, &wanted.name) {
                Ok(()) => {
                    tracing::info!(key = %host.fingerprint(), "a host was let in by a token");
                    let proof = token.proof(link.binding());
                    request.answer::<Enrol>(&Enrolled { proof });
                }
                Err(refusal) => request.refuse(&refusal),
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        // The host ends the link once it has the answer.
        _ = timeout(LINK, requests) => {}
    }
    link.close();
    match driving.join_next().await {
        Some(Ok(end)) => end,
        _ => LinkEnd::Abandoned,
    }
}

#[cfg(test)]
mod tests;
