//! The agent's command line, and what it leads to.
//!
//! Under systemd the identity and the keys of the hosts come as credentials (`lkc.identity`,
//! `lkc.authorized_hosts`); elsewhere as files that the machine's driver put there.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use lkc_protocol::{
    identity::{Identity, IdentityError, PublicKey},
    relay::RelayTarget,
};
use thiserror::Error;

use crate::{k3s::unit::Unit, listen::ListenAddress};

/// Largest identity or key file in bytes; an honest one has some hundred.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Log file where no journal takes standard error.
const DEFAULT_LOG: &str = "/var/log/lkc-guest.log";

/// `lkc-guest`'s command line.
#[derive(Debug, Parser)]
#[command(
    name = "lkc-guest",
    version,
    about = "The guest end of lkc: network, k3s readiness, kubeconfig and tunnel"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `lkc-guest` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until it is told to stop
    Run(RunArgs),
    /// Print this guest's key fingerprint and the hosts it lets in
    Identity(IdentityArgs),
    /// Join standard input and output with the agent: the end of a carrier that is a command
    Stdio(StdioArgs),
    /// Join standard input and output with a socket: a hop of a carrier
    Relay(RelayArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where to listen for the host: unix:PATH, vsock:PORT, serial:PATH or, for all who reach it, tcp:ADDRESS:PORT; may be repeated
    #[arg(
        long,
        value_name = "CARRIER",
        default_value = "unix:/run/lkc/agent.sock"
    )]
    pub listen: Vec<ListenAddress>,

    /// Keys of this guest and of its hosts
    #[command(flatten)]
    pub keys: IdentityArgs,

    /// The k3s program to run; without it k3s is somebody else's to start
    #[arg(long, value_name = "PATH")]
    pub k3s: Option<PathBuf>,

    /// The unit of systemd that runs k3s when the agent does not
    #[arg(long, value_name = "NAME", default_value = "k3s.service")]
    pub k3s_unit: Unit,

    /// Where to log beside standard error [default: /var/log/lkc-guest.log, nowhere under systemd]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Set by systemd when standard error leads to the journal
    #[arg(long, env = "JOURNAL_STREAM", hide = true, value_name = "ID")]
    pub journal_stream: Option<String>,
}

impl RunArgs {
    /// The file to log to, none when the journal has the log.
    #[must_use]
    pub fn log_path(&self) -> Option<PathBuf> {
        let default = || {
            self.journal_stream
                .is_none()
                .then(|| PathBuf::from(DEFAULT_LOG))
        };
        self.log.clone().or_else(default)
    }
}

/// Arguments of `stdio`.
#[derive(Debug, Args)]
pub struct StdioArgs {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = "/run/lkc/agent.sock")]
    pub socket: PathBuf,
}

/// Arguments of `relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Where to: unix:PATH, tcp:HOST:PORT or vsock:CID:PORT
    #[arg(value_name = "TARGET")]
    pub target: RelayTarget,
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// This guest's private key, PEM [default: the credential lkc.identity]
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// Public keys of the hosts to let in, one a line [default: the credential lkc.authorized_hosts]
    #[arg(long, value_name = "FILE")]
    pub authorized_hosts: Option<PathBuf>,

    /// Where systemd puts credentials
    #[arg(long, env = "CREDENTIALS_DIRECTORY", hide = true, value_name = "DIR")]
    pub credentials_dir: Option<PathBuf>,
}

/// The keys, read and checked.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Ours.
    pub identity: Arc<Identity>,
    /// Those of the hosts that are let in.
    pub authorized_hosts: Vec<PublicKey>,
}

/// Why the agent cannot start.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No file was named and there is no credential.
    #[error("no {what}: give `--{flag} FILE` or the systemd credential `{credential}`")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The flag that names it.
        flag: &'static str,
        /// The credential that holds it.
        credential: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} is unusable", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// Nobody could connect.
    #[error("{} lists no host: write one `ed25519:…` public key a line", .0.display())]
    NoHosts(PathBuf),
}

impl IdentityArgs {
    /// Reads the keys.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(&self) -> Result<Keys, ConfigError> {
        let identity_path = self.locate(
            self.identity.as_deref(),
            "identity",
            "identity",
            "lkc.identity",
        )?;
        let hosts_path = self.locate(
            self.authorized_hosts.as_deref(),
            "list of hosts to let in",
            "authorized-hosts",
            "lkc.authorized_hosts",
        )?;
        let pem = read(&identity_path)?;
        let identity = Identity::from_pem(&pem).map_err(|source| ConfigError::Key {
            path: identity_path,
            source,
        })?;
        let authorized_hosts =
            parse_hosts(&read(&hosts_path)?).map_err(|source| ConfigError::Key {
                path: hosts_path.clone(),
                source,
            })?;
        if authorized_hosts.is_empty() {
            return Err(ConfigError::NoHosts(hosts_path));
        }
        Ok(Keys {
            identity: Arc::new(identity),
            authorized_hosts,
        })
    }

    fn locate(
        &self,
        named: Option<&Path>,
        what: &'static str,
        flag: &'static str,
        credential: &'static str,
    ) -> Result<PathBuf, ConfigError> {
        let in_credentials = || {
            self.credentials_dir
                .as_ref()
                .map(|dir| dir.join(credential))
        };
        named
            .map(Path::to_owned)
            .or_else(|| in_credentials().filter(|path| path.exists()))
            .ok_or(ConfigError::Missing {
                what,
                flag,
                credential,
            })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_KEY_FILE {
        let message = format!("{size} bytes are too many for a key file");
        return Err(failed(std::io::Error::new(
            std::io::ErrorKind::InvalidData,
            message,
        )));
    }
    fs::read_to_string(path).map_err(failed)
}

fn parse_hosts(text: &str) -> Result<Vec<PublicKey>, IdentityError> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap_or_default().parse())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path) -> IdentityArgs {
        IdentityArgs {
            identity: None,
            authorized_hosts: None,
            credentials_dir: Some(dir.to_owned()),
        }
    }

    #[test]
    fn keys_come_from_the_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let missing = args(dir.path()).load().unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no identity: give `--identity FILE` or the systemd credential `lkc.identity`"
        );
        let guest = Identity::generate().unwrap();
        let host = Identity::generate().unwrap().public_key();
        fs::write(dir.path().join("lkc.identity"), guest.to_pem()).unwrap();
        fs::write(
            dir.path().join("lkc.authorized_hosts"),
            format!("# hosts\n\n{host} alice's laptop\n"),
        )
        .unwrap();
        let keys = args(dir.path()).load().unwrap();
        assert_eq!(keys.identity.public_key(), guest.public_key());
        assert_eq!(keys.authorized_hosts, [host]);
    }

    #[test]
    fn unusable_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Identity::generate().unwrap();
        fs::write(dir.path().join("lkc.identity"), guest.to_pem()).unwrap();
        let hosts = dir.path().join("lkc.authorized_hosts");
        for (text, expected) in [("", "lists no host"), ("ssh-ed25519 AAAA", "is unusable")] {
            fs::write(&hosts, text).unwrap();
            let error = args(dir.path()).load().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        fs::write(&hosts, "x".repeat(100_000)).unwrap();
        assert!(matches!(
            args(dir.path()).load(),
            Err(ConfigError::Read { .. })
        ));
    }
}
