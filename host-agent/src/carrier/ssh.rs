//! Over SSH, to the agent's socket on the other side or to a command there.
//!
//! The user's ssh configuration says how a host is reached (`ssh -G` reads it), the user's agent
//! and key files log in, the user's known hosts decide who is trusted. Each connection carries one
//! channel, and the link inside it keeps its own encryption: the host that ends the SSH connection
//! need not be the guest.
//!
//! Start at [`connect`]. Not here: passwords, questions, host certificates, host keys of RSA,
//! several channels on one connection.

mod authenticate;
mod connection;
mod cut;
mod error;
mod expand;
mod host_key;
mod identity;
mod keyring;
mod known_hosts;
mod route;
mod server;
mod settings;
mod stream;
mod target;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use authenticate::AuthError;
pub use error::SshError;
pub use host_key::{HostKey, HostKeyError, HostKeyParseError};
pub use keyring::{Keyring, UnlockError, keyring};
pub use known_hosts::Place;
pub use settings::{Hop, SettingsError};
pub use stream::SshStream;
pub use target::{Target, TargetError};

use super::{ConnectFailure, ConnectedCarrier, exec, tcp};
use crate::paths::Paths;
use connection::{Connection, Deadline, Refused};
use cut::Bytes;
use expand::LocalUser;
use host_key::HostKeyPolicy;
use route::route;
use settings::Settings;

/// Where the agent listens on a machine that lkc did not make.
pub const AGENT_SOCKET: &str = "/run/lkc/agent.sock";

/// What is run where a server does not lead to sockets.
pub const AGENT_COMMAND: &str = "lkc-guest stdio";

/// Longest time from the first look at the configuration to a channel, over all hops.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is neither in a target nor in the ssh configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// A configuration file instead of the user's own, such as that of an instance of Lima's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// lkc's own file of host keys, beside the user's; none for the one among lkc's own state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<PathBuf>,
    /// Whether a host that no file has is taken as it is, and put into lkc's own file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accept_new: bool,
    /// The keys that the destination may have, whatever the files say: those of a machine that lkc
    /// made. None leave it to the files. Hosts on the way are checked by the files always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned: Vec<HostKey>,
    /// The agent's socket on the other side, where it is not [`AGENT_SOCKET`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// What speaks for the agent on its input and output, where it is not [`AGENT_COMMAND`]. It is
    /// run at once unless a socket is named as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Options {
    /// Where the agent is.
    #[must_use]
    pub fn destination(&self) -> Destination {
        match (&self.socket, &self.command) {
            (None, Some(command)) => Destination::Command(command.clone()),
            (socket, command) => Destination::Agent {
                socket: socket.clone().unwrap_or_else(|| AGENT_SOCKET.into()),
                command: command.clone().unwrap_or_else(|| AGENT_COMMAND.to_owned()),
            },
        }
    }

    fn policy(&self, is_destination: bool) -> HostKeyPolicy {
        if is_destination && !self.pinned.is_empty() {
            return HostKeyPolicy::Pinned(self.pinned.clone());
        }
        HostKeyPolicy::Known {
            own: self.known_hosts.clone().or_else(own_known_hosts),
            accept_new: self.accept_new,
        }
    }
}

/// What to reach on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The agent: its socket, or where the server does not lead to sockets, the command that
    /// speaks for it.
    Agent {
        /// Its socket.
        socket: PathBuf,
        /// The command, read by the login shell of the account.
        command: String,
    },
    /// A TCP port that the host reaches.
    Tcp(String, u16),
    /// A unix socket of the host's.
    Unix(PathBuf),
    /// The input and output of a command, read by the login shell of the account.
    Command(String),
}

/// lkc's own file of host keys.
fn own_known_hosts() -> Option<PathBuf> {
    let paths = Paths::of_this_process().ok()?;
    Some(paths.state_dir().join("known_hosts"))
}

/// Connects to the agent behind `target`.
///
/// # Errors
/// Why not.
pub(super) async fn carrier(
    target: &Target,
    options: &Options,
) -> Result<ConnectedCarrier, ConnectFailure> {
    let targets = std::slice::from_ref(target);
    let stream = connect(targets, options, &options.destination()).await?;
    Ok(ConnectedCarrier::of_ssh(stream))
}

/// Reaches `destination` through `targets`, one from the other, within ten seconds.
///
/// # Errors
/// See [`SshError`]. What was begun is undone.
///
/// # Panics
/// Without a target.
pub async fn connect(
    targets: &[Target],
    options: &Options,
    destination: &Destination,
) -> Result<SshStream, SshError> {
    let deadline = Deadline::after(DEADLINE);
    let local = LocalUser::current();
    let hops = route(targets, options.config.as_deref(), &local).await?;
    let connection = log_in(&hops, options, &local, deadline).await?;
    match destination {
        Destination::Agent { socket, command } => {
            to_agent(connection, socket, command, deadline).await
        }
        Destination::Tcp(host, port) => connection.into_tcp(host, *port, deadline).await,
        Destination::Unix(socket) => connection.into_socket(socket, deadline).await,
        Destination::Command(command) => connection.into_command(command, deadline).await,
    }
}

/// One connection through the other, to the last of `hops`.
async fn log_in(
    hops: &[Settings],
    options: &Options,
    local: &LocalUser,
    deadline: Deadline,
) -> Result<Connection, SshError> {
    let (first, rest) = hops
        .split_first()
        .expect("a route has its destination at least");
    let bytes = dial(first, local, deadline).await?;
    let policy = options.policy(rest.is_empty());
    let mut connection = Connection::establish(bytes, first, &policy, Vec::new(), deadline).await?;
    for (index, settings) in rest.iter().enumerate() {
        let banners = connection.banners().to_vec();
        let hop = &settings.hop;
        let stream = connection.into_tcp(&hop.host, hop.port, deadline).await?;
        let policy = options.policy(index + 1 == rest.len());
        connection =
            Connection::establish(Box::new(stream), settings, &policy, banners, deadline).await?;
    }
    Ok(connection)
}

/// The bytes to the first host: its proxy command's, or those of a TCP connection.
async fn dial(
    settings: &Settings,
    local: &LocalUser,
    deadline: Deadline,
) -> Result<Bytes, SshError> {
    let hop = &settings.hop;
    let failed = |source| SshError::Connect {
        hop: hop.clone(),
        source,
    };
    let line = settings
        .proxy_line(local)
        .map_err(|source| SshError::Settings {
            target: Target {
                user: Some(hop.user.clone()),
                host: settings.written.clone(),
                port: Some(hop.port),
            },
            source,
        })?;
    let connected = match line {
        // ssh gives the line to the shell as well.
        Some(line) => exec::connect(&[
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            format!("exec {line}"),
        ]),
        None => {
            deadline
                .at_most(settings.connect_timeout)
                .bound(
                    hop,
                    "take the connection",
                    tcp::connect(&hop.host, hop.port),
                )
                .await?
        }
    };
    Ok(Box::new(connected.map_err(failed)?.stream))
}

/// The agent's socket where the server leads to it, and the command where it does not: sshd says
/// the same of a socket that it may not lead to and of one that is not there.
async fn to_agent(
    connection: Connection,
    socket: &Path,
    command: &str,
    deadline: Deadline,
) -> Result<SshStream, SshError> {
    let error = match connection.socket(socket, deadline).await? {
        Ok(channel) => return Ok(SshStream::new(channel, connection)),
        Err(error) => error,
    };
    match connection.refused(error) {
        Refused::Forbidden(why) | Refused::Failed(why) => {
            connection.story().explain(format!(
                "the server does not lead to {} ({why})",
                socket.display()
            ));
            connection.into_command(command, deadline).await
        }
        Refused::Gone(source) => Err(SshError::Protocol {
            hop: connection.hop().clone(),
            doing: "open the agent's socket",
            source: Box::new(source),
        }),
    }
}
